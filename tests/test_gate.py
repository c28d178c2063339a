import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from garments.batch.gate import Gate


def test_many_are_inside_together_and_one_alone() -> None:
    gate, inside, seen = Gate(), set[int](), []
    met = threading.Barrier(4, timeout=10)

    def go_in(number: int) -> None:
        if number < 4:
            with gate.together():
                met.wait()  # which only four together get past
        way = gate.alone() if number % 5 == 0 else gate.together()
        with way:
            inside.add(number)
            time.sleep(0.001)
            if number % 5 == 0:
                seen.append(set(inside))
            inside.remove(number)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(go_in, range(40)))
    assert sorted(seen, key=min) == [{number} for number in range(0, 40, 5)]


@pytest.mark.parametrize("way", ["together", "alone"])
def test_who_fails_inside_leaves_as_well(way: str) -> None:
    gate = Gate()
    with pytest.raises(ValueError, match="inside"), getattr(gate, way)():
        raise ValueError("inside")
    with gate.alone():
        pass
    with gate.together():
        pass

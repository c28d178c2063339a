import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from garments.batch.read_write_lock import ReadWriteLock


def test_many_share_it_and_one_has_it_alone() -> None:
    lock, inside, seen = ReadWriteLock(), set[int](), []
    met = threading.Barrier(4, timeout=10)

    def go_in(number: int) -> None:
        if number < 4:
            with lock.shared():
                met.wait()  # which only four together get past
        way = lock.exclusive() if number % 5 == 0 else lock.shared()
        with way:
            inside.add(number)
            time.sleep(0.001)
            if number % 5 == 0:
                seen.append(set(inside))
            inside.remove(number)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(go_in, range(40)))
    assert sorted(seen, key=min) == [{number} for number in range(0, 40, 5)]


@pytest.mark.parametrize("way", ["shared", "exclusive"])
def test_who_fails_inside_lets_go_of_it(way: str) -> None:
    lock = ReadWriteLock()
    with pytest.raises(ValueError, match="inside"), getattr(lock, way)():
        raise ValueError("inside")
    with lock.exclusive():
        pass
    with lock.shared():
        pass

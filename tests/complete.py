"""A plugin for pytest: fail where tests were skipped for want of what can be installed."""

import re

import pytest

_CAN_BE_HAD = re.compile(r"\binstall|: make ")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not reporter:  # a worker, whose skips the others hear of
        return
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])}
    if missing := sorted(filter(_CAN_BE_HAD.search, reasons)):
        reporter.write_line("\nskipped, though it can be had:", red=True)
        for reason in missing:
            reporter.write_line(reason, red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

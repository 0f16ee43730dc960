"""Which tests go to one worker together: those of a file, and each slow one marked ``alone`` by itself.

A file whose few tests take a minute each would otherwise be the last, on one worker, while the others wait.
"""

import hypothesis
import pytest

# No property is timed (a busy machine is no fault), and the same examples are tried every day.
hypothesis.settings.register_profile("workings", deadline=None, derandomize=True)
hypothesis.settings.load_profile("workings")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            by_itself = item.get_closest_marker("alone") is not None
            item.add_marker(pytest.mark.xdist_group(item.nodeid if by_itself else item.nodeid.split("::")[0]))

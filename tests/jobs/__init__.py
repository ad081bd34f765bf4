import pytest

pytest.register_assert_rewrite("tests.jobs.contract")  # its asserts tell what they saw, as in a test's own file

"""Every page as a reader would follow it who has nothing: an empty environment, and what the page says to type in.

``python -m tests.fresh`` builds the package from this tree, makes an environment for each install line that there is on
the pages, and follows each page from the top to the bottom: Python blocks, files, commands, requests to the server that
the page has started. What is compared is what ``tests/docs/pages.py`` compares; here nothing comes from the tests' own
environment, so what a page forgets to install is not there.
"""

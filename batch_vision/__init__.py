"""The operator's command-line tool: see every run, and put right with one command what went wrong."""

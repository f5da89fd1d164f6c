#!/bin/sh
# Prints the path of a Python 3.13 interpreter, or says what is missing and exits 1.
# LocalStack 4.14.0 needs 3.13, and so does AWS's python3.13 runtime that the Lambdas run on.
is_313() { [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = 3.13 ]; }
for candidate in "${PYTHON:-}" python3.13 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python3; do
    [ -n "$candidate" ] || continue
    if is_313 "$candidate"; then
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
echo "batch-vision needs Python 3.13 and found none (looked for \$PYTHON, python3.13, python3 and pyenv versions)." >&2
echo "Install it, for example with 'pyenv install 3.13' or your system's package manager, or set PYTHON=/path/to/python3.13." >&2
exit 1

#!/bin/sh
# Resolves every requirements/<name>.in into a fully pinned, hashed <name>.txt without addresses.
set -eu
cd "$(dirname "$0")"
python=../build/venvs/dev/bin/python
"$python" -m venv ../build/venvs/lock
../build/venvs/lock/bin/python -m pip install -qq --disable-pip-version-check uv==0.13.8
compile() {
    ../build/venvs/lock/bin/uv pip compile --quiet --python-version 3.13 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links "$@"
}
for name in lambda lambda-runtime dev policy-scan; do
    compile --universal "$name.in" --output-file "$name.txt"
done
# The same versions in the container as without one.
compile --universal --constraint dev.txt emulator.in --output-file emulator.txt
compile --exclude-newer 2026-03-05 localstack.in --output-file localstack.txt

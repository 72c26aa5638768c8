#!/bin/sh
# Install QGIS on Debian or Ubuntu, unless it is there, and open outputs of hyseg in it.
#   install_and_check.sh [OPTIONS OF PYTEST...]
# QGIS_PYTHON is the interpreter that QGIS belongs to; PYTHON the one that has hyseg.
set -eu
cd "$(dirname "$0")/../.."

: "${QGIS_PYTHON:=/usr/bin/python3}"
export QGIS_PYTHON
if ! "$QGIS_PYTHON" -c 'import qgis.core' 2>/dev/null; then
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root apt-get update
    $as_root apt-get install -y --no-install-recommends qgis python3-qgis qgis-providers
fi
exec "${PYTHON:-python}" -m pytest -m qgis tests/qgis "$@"

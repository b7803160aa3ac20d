#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs those of the named Debian packages that are missing. Never silently without root: it says
# which command would do it.
set -euo pipefail

missing=()
for p in "$@"; do
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true) == installed ]] || missing+=("$p")
done
((${#missing[@]})) || exit 0
echo "Missing Debian packages: ${missing[*]}"
as_root=()
if ((EUID != 0)); then
	if ! command -v sudo >/dev/null; then
		echo "Install them as root, then call make again:" >&2
		echo "  apt-get install ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
started=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}
echo "Installing them ..."
if ! install >"$log" 2>&1; then
	"${as_root[@]}" apt-get update >>"$log" 2>&1 || true
	if ! install >>"$log" 2>&1; then
		tail -n 20 "$log" >&2
		echo "apt-get install failed: see above." >&2
		exit 1
	fi
fi
echo "Installed in $((SECONDS - started)) s."

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make deb`: a package of the agent, linked with Debian's libraries, and of agent-ctl. For a guest's root (systemd's units
# come along, not enabled on their own: a guest's kernel line names their target) and for hosts that want the client.
# Usage: deb.sh VERSION FILE     environment: BUILD (build), SOURCE_DATE_EPOCH (the date of the last commit)
set -euo pipefail
export LC_ALL=C
umask 022
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
version=$1 deb=$2
build=${BUILD:-$top/build}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" -c safe.directory='*' log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
name=kata-agent-c
maintainer='Kata agent in C <kata-agent@localhost.localdomain>'
work=$(mktemp -d "$build/deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/tree
arch=$(dpkg --print-architecture)
doc=$tree/usr/share/doc/$name

install -D -m 755 "$build/kata-agent-shared" "$tree/usr/bin/kata-agent"
install -D -m 755 "$build/agent-ctl" "$tree/usr/bin/agent-ctl"
strip --remove-section=.comment --remove-section=.note --strip-unneeded "$tree/usr/bin/kata-agent" "$tree/usr/bin/agent-ctl"
install -D -m 644 -t "$tree/lib/systemd/system" "$top/rootfs-builder/systemd/kata-agent.service" \
	"$top/rootfs-builder/systemd/kata-containers.target"
install -d "$tree/usr/share/man/man1" "$tree/usr/share/man/man8" "$tree/usr/share/bash-completion/completions" "$doc"
day=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)
"$top/tools/dist/help.sh" man "$build/agent-ctl" "$version" "$day" | gzip -9n >"$tree/usr/share/man/man1/agent-ctl.1.gz"
"$top/tools/dist/help.sh" completion "$build/agent-ctl" "$version" "$day" >"$tree/usr/share/bash-completion/completions/agent-ctl"
gzip -9n >"$tree/usr/share/man/man8/kata-agent.8.gz" <<END
.TH KATA\\-AGENT 8 "$day" "kata\\-agent $version" "Kata Containers"
.SH NAME
kata\\-agent \\- container agent and init of the virtual machines of Kata Containers
.SH SYNOPSIS
.B kata\\-agent
[OPTIONS]
.SH DESCRIPTION
It runs as PID 1 or as a service in the guest, and makes containers on the calls of the host's runtime.
$("$build/kata-agent-shared" --help 2>&1 | sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\\([.']\\)/\\\\\&\\1/" -e '1i .nf' -e '$a .fi')
.SH SEE ALSO
.BR agent\\-ctl (1)
END
cat >"$doc/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: kata-agent, in C

Files: *
Copyright: 2025-2026, the authors of kata-agent in C
License: Apache-2.0
 On Debian systems the text of this license is in
 /usr/share/common-licenses/Apache-2.0.
END
{
	printf '%s (%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n' "$name" "$version" \
		"$(git -C "$top" -c safe.directory='*' rev-parse --short=12 HEAD 2>/dev/null || echo unknown)"
	printf ' -- %s  %s\n' "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"

# Nobody's address can be named here: whoever hands the package on puts his own.
install -d "$tree/usr/share/lintian/overrides"
printf '%s: %s *\n' "$name" bogus-mail-host "$name" bogus-mail-host-in-debian-changelog >"$tree/usr/share/lintian/overrides/$name"
chmod 644 "$tree/usr/share/lintian/overrides/$name" "$doc"/* "$tree"/usr/share/man/*/* "$tree"/usr/share/bash-completion/completions/*

# dpkg-shlibdeps wants the source's folder.
mkdir -p "$work/debian" "$tree/DEBIAN"
printf 'Source: %s\n\nPackage: %s\nArchitecture: any\n' "$name" "$name" >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O tree/usr/bin/kata-agent tree/usr/bin/agent-ctl 2>"$work/log" | sed -n 's/^shlibs:Depends=//p') ||
	{ cat "$work/log" >&2; exit 1; }
cat >"$tree/DEBIAN/control" <<END
Package: $name
Version: $version
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(du -k -s --apparent-size "$tree" | cut -f 1)
Depends: $depends
Section: admin
Priority: optional
Homepage: https://katacontainers.io
Conflicts: kata-agent
Description: container agent of Kata Containers' guests, in C, and its client
 Kata Containers runs each pod in a virtual machine. The agent is init or a
 service there: it makes containers out of namespaces, cgroups and mounts on the
 runtime's calls, and carries their input, output and exit codes.
 .
 agent-ctl is the client for those who run or debug such guests.
END
(cd "$tree" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$tree" "$work/new.deb" >/dev/null
mv "$work/new.deb" "$deb"

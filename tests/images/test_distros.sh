#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The distributions: the command line each package manager gets, a real dnf against a repository made here, and
# with TEST_NETWORK=1 a real Debian from its mirror, made into an image.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

make_agent "$work/kata-agent" -static -s
export AGENT_SOURCE_BIN=$work/kata-agent
export CALLED=$work/called

# A package manager that notes its arguments and installs the least a guest can have.
mkdir -p "$work/fake"
cat > "$work/fake/dnf" <<'EOF'
#!/bin/bash
printf '%s\n' "$(basename "$0") $*" > "$CALLED"
for a; do
	case $a in
	--config=*) cat "${a#--config=}" >> "$CALLED" ;;
	--installroot=*) root=${a#--installroot=} ;;
	esac
done
[[ $(basename "$0") != apk ]] || while [[ $# -gt 0 ]]; do [[ $1 != --root ]] || root=$2; shift; done
[[ $(basename "$0") != mmdebstrap ]] || for a; do [[ $a != /* ]] || { root=$a; break; }; done
mkdir -p "$root"/{sbin,etc/chrony,usr/lib/systemd/system,usr/bin,usr/sbin,var/lib/rpm,var/cache}
cp /bin/busybox "$root/usr/lib/systemd/systemd"
cp /bin/busybox "$root/usr/sbin/chronyd"
ln -s ../usr/lib/systemd/systemd "$root/sbin/init"
printf 'pool 2.pool.example iburst\nserver ntp.example\n' > "$root/etc/chrony.conf"
cp "$root/etc/chrony.conf" "$root/etc/chrony/chrony.conf"
[[ $(basename "$0") == mmdebstrap ]] || rm -r "$root/etc/chrony"
printf '[Unit]\nDescription=x\n[Service]\nExecStart=/usr/sbin/chronyd -u chrony -F 1\n' > "$root/usr/lib/systemd/system/chronyd.service"
ln -s /run/x "$root/etc/resolv.conf"
exit "${FAKE_STATUS:-0}"
EOF
chmod +x "$work/fake/dnf"
for f in yum apk mmdebstrap debootstrap docker; do cp "$work/fake/dnf" "$work/fake/$f"; done
cat > "$work/fake/docker" <<'EOF'
#!/bin/bash
[[ $1 != info ]] || exit "${DOCKER_STATUS:-0}"
printf '%s\n' "docker $*" > "$CALLED"
EOF
run() { PATH=$work/fake:$PATH "$rootfs_sh" -r "$work/root" "$@"; }
called() { grep -q -e "$1" "$CALLED"; }

if [[ $(id -u) -eq 0 ]]; then
	check 'centos' run centos
	check 'centos: dnf with a root of its own and a configuration of ours' called '^dnf -y --installroot=.* --noplugins --config=.*kata-Centos-dnf.conf --releasever=9-stream install .*systemd'
	check 'centos: both repositories' test "$(grep -c '^baseurl=.*/9-stream/\(BaseOS\|AppStream\)/x86_64/os/' "$CALLED")" -eq 2
	check 'centos: signatures are checked' called '^gpgcheck=1'
	check 'centos: resolv.conf' test -f "$work/root/etc/resolv.conf" -a ! -L "$work/root/etc/resolv.conf"
	check 'centos: chrony takes the host as its clock' grep -q '^refclock PHC /dev/ptp0' "$work/root/etc/chrony.conf"
	check 'centos: and no server' not grep -q -E '^(pool|server)' "$work/root/etc/chrony.conf"
	check 'centos: chronyd runs as root, if the clock is there' grep -q -z 'ConditionPathExists=/dev/ptp0.*ExecStart=/usr/sbin/chronyd -F 1' "$work/root/usr/lib/systemd/system/chronyd.service"
	check 'centos: what the package manager left in /var is gone' test ! -e "$work/root/var/lib/rpm" -a ! -e "$work/root/var/cache"
	check 'centos: yaml' grep -q 'name: "Centos"' "$work/root/var/lib/osbuilder/osbuilder.yaml"
	check 'fedora' env OS_VERSION=40 PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" fedora
	check 'fedora: the version asked for' called '^baseurl=.*/releases/40/Everything/x86_64/os/'
	check 'with EXTRA_PKGS and SECCOMP' env EXTRA_PKGS='strace vim' SECCOMP=yes PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" fedora
	check 'they are installed' called 'install strace vim .*libseccomp'
	check 'and noted' grep -q -z 'extra:.*- "strace".*- "vim"' "$work/root/var/lib/osbuilder/osbuilder.yaml"
	check 'with AGENT_INIT=yes' env AGENT_INIT=yes PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" fedora
	check 'no systemd is asked for' not called 'install.* systemd'
	check 'the agent is init' test "$(readlink "$work/root/sbin/init")" = ../usr/bin/kata-agent
	check 'clearlinux' run clearlinux
	check 'euleros' run euleros
	check 'DISTRO_REPO: the repositories of the host' env DISTRO_REPO=yes PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" fedora
	check 'without a configuration of ours' not called 'config='
	check 'PKG_MANAGER=yum' env PKG_MANAGER=yum PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" euleros
	check 'is called' called '^yum '
	check 'http_proxy is passed on' env http_proxy=http://proxy.example:3128 PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" fedora
	check 'in the configuration' called '^proxy=http://proxy.example:3128'
	cp -a "$work/root" "$work/last"
	refuses 'a package manager that fails' 'dnf failed' env FAKE_STATUS=3 PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" fedora
	is 'leaves the last good tree' "$(tree_sum "$work/root")" "$(tree_sum "$work/last")"
	check 'GRACEFUL_EXIT where that is known to happen' env FAKE_STATUS=3 GRACEFUL_EXIT=1 PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" euleros
	check 'notes it' test -e "$work/euleros_fail"
	refuses 'GRACEFUL_EXIT where it is not' 'dnf failed' env FAKE_STATUS=3 GRACEFUL_EXIT=1 PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" fedora
	check '-d leaves out units a guest has no use for' run -d centos
else
	refuses 'centos without root' 'Root is needed' run centos
fi
refuses 'an architecture that is excluded' 'clearlinux cannot be made for aarch64' env ARCH=aarch64 PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/other" clearlinux

rm -rf "$work/root" "$work/last"
check 'alpine' run alpine
check 'alpine: apk from the mirror of its version' called '^apk -X https://[^ ]*/v3.20/main --arch x86_64 .*--initdb .*add alpine-baselayout busybox e2fsprogs iptables'
check 'alpine: the agent is init' test "$(readlink "$work/root/sbin/init")" = ../usr/bin/kata-agent
mkdir "$work/keys"
check 'alpine with keys' env APK_KEYS_DIR="$work/keys" PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" alpine
check 'checks signatures' not called allow-untrusted
check 'debian' run debian
check 'debian: mmdebstrap' called '^mmdebstrap --variant=essential --format=directory --architectures=amd64 --include=systemd,systemd-sysv,dbus,chrony,kmod,e2fsprogs,iptables .* bookworm /'
check 'debian: chrony' grep -q '^refclock PHC' "$work/root/etc/chrony/chrony.conf"
check 'debian, lean' env KATA_EXTRAS=none PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" debian
check 'has neither mkfs nor iptables' called '--include=systemd,systemd-sysv,dbus,chrony,kmod --comp'
check 'debian from a mirror of one'"'"'s own' env MIRROR=file:///srv/mirror OS_VERSION=trixie PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/root" debian
check 'takes it' called ' trixie /.* file:///srv/mirror$'
if [[ -e /usr/share/keyrings/ubuntu-archive-keyring.gpg ]]; then
	check 'ubuntu' run ubuntu
else
	refuses 'ubuntu without its keys says what to install' 'apt-get install ubuntu-keyring' run ubuntu
fi

check 'USE_DOCKER' env USE_DOCKER=true PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/incontainer" -d fedora
check 'runs this script in the image of the distribution' called '^docker run --rm .*INSIDE_CONTAINER=1 .*:/rootfs .*fedora:41 sh -c .*exec /osbuilder/rootfs.sh -d -r /rootfs fedora'
refuses 'USE_DOCKER without its service' 'docker does not answer' env DOCKER_STATUS=1 USE_DOCKER=true PATH="$work/fake:$PATH" "$rootfs_sh" -r "$work/incontainer" fedora

# --- a new one
cp -a "$top/rootfs-builder" "$work/builder"
check 'template' make -s -C "$work/builder" -f template/Makefile ROOTFS_BASE_NAME=mydistro
check 'is listed' grep -q -x mydistro <("$work/builder/rootfs.sh" -l)
refuses 'and says what to fill in' 'put the base system into' "$work/builder/rootfs.sh" -r "$work/mine" mydistro

# --- a real dnf
if [[ $(id -u) -eq 0 ]] && command -v dnf > /dev/null && command -v createrepo_c > /dev/null && command -v rpmbuild > /dev/null; then
	mkdir -p "$work/rpm" "$work/repo"
	for p in systemd iptables-nft chrony e2fsprogs; do
		cat > "$work/rpm/$p.spec" <<EOF
Name: $p
Version: 1
Release: 1
Summary: $p
License: none
BuildArch: noarch
%description
Stands in for $p.
%install
mkdir -p %{buildroot}/usr/share/stand-in
echo $p > %{buildroot}/usr/share/stand-in/$p
EOF
		if [[ $p == systemd ]]; then
			cat >> "$work/rpm/$p.spec" <<'EOF'
mkdir -p %{buildroot}/usr/lib/systemd/system %{buildroot}/sbin
cp /bin/busybox %{buildroot}/usr/lib/systemd/systemd
ln -s ../usr/lib/systemd/systemd %{buildroot}/sbin/init
EOF
		fi
		printf '%%files\n/*\n' >> "$work/rpm/$p.spec"
		rpmbuild --quiet -bb --define "_topdir $work/rpm" --define "_rpmdir $work/repo" --define '__strip /bin/true' \
			--define '_binaries_in_noarch_packages_terminate_build 0' "$work/rpm/$p.spec" > "$work/log" 2>&1 || cat "$work/log" >&2
	done
	createrepo_c -q "$work/repo" > "$work/log" 2>&1
	check 'centos with a real dnf, from a local repository' env REPO_URL="file://$work/repo" GPG_KEY_URL="" "$rootfs_sh" -r "$work/real" centos
	is 'its packages are there' "$(cd "$work/real/usr/share/stand-in" 2> /dev/null && echo *)" 'chrony e2fsprogs iptables-nft systemd'
	check 'and the agent with its unit' test -x "$work/real/usr/bin/kata-agent" -a -f "$work/real/usr/lib/systemd/system/kata-agent.service"
	check 'and it makes an image' "$image_sh" -o "$work/real.img" "$work/real"
	sum=$(tree_sum "$work/real")
	check 'again' env REPO_URL="file://$work/repo" GPG_KEY_URL="" "$rootfs_sh" -r "$work/real" centos
	is 'the same tree' "$(tree_sum "$work/real")" "$sum"
else
	skip 'centos with a real dnf' 'needs root, dnf, createrepo_c and rpmbuild (packages dnf, createrepo-c, rpm)'
fi

# --- a real Debian
if [[ -n ${TEST_NETWORK:-} ]] && command -v mmdebstrap > /dev/null; then
	check 'debian from its mirror' "$rootfs_sh" -r "$work/debian" debian
	check 'systemd is init, and the agent has its unit' test -e "$work/debian/usr/lib/systemd/systemd" -a -f "$work/debian/usr/lib/systemd/system/kata-agent.service"
	check 'debian image' "$image_sh" -o "$work/debian.img" "$work/debian"
	sum=$(sha256sum < "$work/debian.img")
	rm "$work/debian.img"
	check 'debian again' "$rootfs_sh" -r "$work/debian" debian
	check 'debian image again' "$image_sh" -o "$work/debian.img" "$work/debian"
	is 'the same bytes' "$(sha256sum < "$work/debian.img")" "$sum"
else
	skip 'debian from its mirror' 'set TEST_NETWORK=1 (and install mmdebstrap)'
fi
done_testing

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the guest kernel from Debian's kernel source and the configuration fragments beside this file.
# Every option a fragment asks for is checked in the result; the result is cached by all that went in.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/.." && pwd)
readonly here top

# Part of the cache key: raise it when this script starts to build something else from the same fragments.
readonly recipe=3

arch=$(uname -m)
profile=default
out=$top/build/kernel
jobs=$(nproc)
force=
extra=()
tarball=${KERNEL_SOURCE:-/usr/src/linux-source-6.1.tar.xz}

usage() {
	cat <<EOF
Usage: ${0##*/} [options] setup|build|install|all

  setup     unpack the source, merge the fragments, check that every wished option survived
  build     set up where needed, and build; a kernel already built from the same inputs is kept
  all       the same as build
  install   build, and install as \$DESTDIR\$PREFIX/share/kata-containers/vmlinuz.container
  config    print the merged wish list (no source needed)

  -a ARCH   x86_64 or arm64 (now: $arch); another architecture than the host's is cross-compiled
  -p NAME   lean, default or large (now: $profile)
  -c FILE   one more fragment, which wins over the others; may be repeated
  -o DIR    where to build (now: $out)
  -k FILE   kernel source, a .tar.xz as in Debian's linux-source-6.1 (now: $tarball; env KERNEL_SOURCE)
  -j N      parallel compilers (now: $jobs)
  -f        build again even if the result exists
  -h        this text

Results: DIR/<key>/{vmlinuz,vmlinux,config,report.json}, and a link ${out%/*}/kata-vmlinuz to the first
(kata-vmlinuz-PROFILE for a profile other than default, with -ARCH where it isn't the host's).
EOF
}

started=$SECONDS
say() { printf 'kernel: [%3d s] %s\n' $((SECONDS - started)) "$*"; }
die() { printf 'build-kernel.sh: %s\n' "$*" >&2; exit 1; }

while getopts a:p:c:o:k:j:fh opt; do
	case $opt in
	a) arch=$OPTARG ;;
	p) profile=$OPTARG ;;
	c) [[ -r $OPTARG ]] || die "-c $OPTARG: no such file"; extra+=("$(realpath "$OPTARG")") ;;
	o) out=$OPTARG ;;
	k) tarball=$OPTARG ;;
	j) jobs=$OPTARG ;;
	f) force=1 ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 1 ;;
	esac
done
shift $((OPTIND - 1))
[[ $# -eq 1 ]] || { usage >&2; exit 1; }
readonly command=$1

case $arch in
x86_64 | amd64) arch=x86_64 karch=x86_64 image=arch/x86/boot/bzImage ;;
arm64 | aarch64) arch=arm64 karch=arm64 image=arch/arm64/boot/Image ;;
*) die "-a $arch: only x86_64 and arm64 have fragments" ;;
esac
case $profile in lean | default | large) ;; *) die "-p $profile: must be lean, default or large" ;; esac
case $command in setup | build | install | all | config) ;; *) die "'$command': must be setup, build, install, all or config" ;; esac
[[ $jobs =~ ^[1-9][0-9]*$ ]] || die "-j $jobs: must be a number above 0"

host=$(uname -m)
[[ $host != aarch64 ]] || host=arm64

# --- the wish list ---------------------------------------------------------------------------------

# A fragment belongs to every profile unless a line "# profiles: a b" at its top names some.
fragments() {
	local f want

	for f in "$here"/fragments/common/*.conf "$here/fragments/$arch"/*.conf; do
		want=$(sed -n '1,3s/^# profiles: *//p' "$f")
		[[ -z $want || " $want " == *" $profile "* ]] && printf '%s\n' "$f"
	done
	return 0
}

# Prints "NAME VALUE FILE" for each option of a fragment; VALUE n stands for "is not set".
wishes() {
	awk '
		/^CONFIG_[A-Za-z0-9_]+=/ { i = index($0, "="); print substr($0, 1, i - 1) "\t" substr($0, i + 1) "\t" FILENAME; next }
		/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { print $2 "\tn\t" FILENAME; next }
		/^#/ || /^[ \t]*$/ { next }
		{ printf "%s:%d: neither an option nor a comment: %s\n", FILENAME, FNR, $0 > "/dev/stderr"; bad = 1 }
		END { exit bad }' "$@"
}

# The merged list. The same option twice in our own fragments is a mistake; files given by -c win.
merge() {
	local own
	mapfile -t own < <(fragments)
	fragment_files=("${own[@]}" "${extra[@]}")
	wishes "${own[@]}" | awk -F '\t' '
		($1 in seen) { printf "%s is asked for twice: %s and %s\n", $1, seen[$1], $3 > "/dev/stderr"; bad = 1 }
		{ seen[$1] = $3; print }
		END { exit bad }' > "$1.own" || die "the fragments contradict each other (see above)"
	: > "$1.extra"
	[[ ${#extra[@]} -eq 0 ]] || wishes "${extra[@]}" > "$1.extra" || die "a fragment given by -c is malformed (see above)"
	cat "$1.own" "$1.extra" | awk -F '\t' '
		{ if (!($1 in val)) order[++n] = $1; val[$1] = $2 }
		END { for (i = 1; i <= n; i++)
			if (val[order[i]] == "n") print "# " order[i] " is not set"; else print order[i] "=" val[order[i]] }' > "$1"
	rm -f "$1.own" "$1.extra"
}

# --- tools and source ------------------------------------------------------------------------------

need_tools() {
	local pair missing=() pkgs=()
	for pair in make:make gcc:gcc lz4:lz4 ld:binutils flex:flex bison:bison bc:bc xz:xz-utils perl:perl; do
		command -v "${pair%%:*}" > /dev/null || { missing+=("${pair%%:*}"); pkgs+=("${pair#*:}"); }
	done
	if [[ $arch == x86_64 && ! -e /usr/include/libelf.h ]]; then
		missing+=(libelf.h)
		pkgs+=(libelf-dev)
	fi
	[[ ${#missing[@]} -eq 0 ]] || die "missing: ${missing[*]}. Install with: apt-get install ${pkgs[*]}"
}

# The kernel's makefiles say 'lz4 -l -9 - -'; these words become this shell's parameters. 12 kB less, as fast to unpack.
readonly lz4="sh -c 'exec lz4 -l -12 - -'"

# The make command, as an array: called directly it is a process of its own, which can be stopped.
kmake() {
	# LOCALVERSION is set (empty) so that no '+' is added for the git tree around us.
	make=(make -C "$src" O="$obj" ARCH="$karch" "${cc[@]}" LOCALVERSION=
		KBUILD_BUILD_TIMESTAMP="@$epoch" KBUILD_BUILD_USER=kata KBUILD_BUILD_HOST=kata
		KBUILD_BUILD_VERSION=1 LZ4="$lz4" "$@")
}

pick_compiler() {
	cc=() strip=strip
	if [[ $arch != "$host" ]]; then
		local prefix=aarch64-linux-gnu-
		[[ $arch == arm64 ]] || prefix=x86_64-linux-gnu-
		if command -v ${prefix}gcc > /dev/null; then
			cc=("CROSS_COMPILE=$prefix")
			strip=${prefix}strip
			compiler=$(${prefix}gcc --version | head -n 1)
		elif command -v clang > /dev/null && command -v ld.lld > /dev/null; then
			cc=(LLVM=1)
			strip=llvm-strip
			compiler=$(clang --version | head -n 1)
		else
			die "no compiler for $arch. Install one with: apt-get install gcc-${prefix%-}"
		fi
	else
		compiler=$(gcc --version | head -n 1)
	fi
	# At -Os gcc turns memset and memcpy into byte-wise string instructions. The kernel's own functions pick what
	# suits the processor; under TCG that is 0.1 s of boot time.
	[[ $arch != x86_64 || ${cc[*]} == *LLVM* ]] || cc+=("KCFLAGS=-mstringop-strategy=libcall")
	compiler+="; $(ld --version | head -n 1)"
}

unpack() {
	[[ -r $tarball ]] || die "$tarball is not there.
Install Debian's kernel source with: apt-get install linux-source-6.1
or name another tarball with -k FILE or KERNEL_SOURCE=FILE."
	# The stamp is cheap to compare; the checksum of 130 MB is taken only when the file has changed.
	local stamp
	stamp="$(realpath "$tarball") $(stat -L -c '%s %Y' "$tarball")"
	if [[ -e $out/src/stamp && $(head -n 1 "$out/src/stamp") == "$stamp" ]]; then
		source_id=$(sed -n 2p "$out/src/stamp")
	else
		source_id=$(sha256sum < "$tarball" | cut -c 1-64)
		local dir=$out/src/.new.$$
		say "unpacking $tarball"
		rm -rf "$out/src"
		mkdir -p "$dir"
		tar -C "$dir" --strip-components=1 --no-same-owner -I 'xz -T0' -xf "$tarball" || die "could not unpack $tarball"
		[[ -r $dir/Kconfig ]] || die "$tarball holds no kernel source (no Kconfig in its first directory)"
		mv "$dir" "$out/src/linux"
		printf '%s\n%s\n' "$stamp" "$source_id" > "$out/src/stamp"
	fi
	src=$out/src/linux
	lay_out
	# The date in the kernel's banner is that of its source, not that of its build.
	epoch=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$src/Makefile")}
}

# Three habits of 6.1 that suit servers and have no option: the source is edited. Where it has another form (another
# version, -k), it stays as it is. With one processor the first two are worth 7 MB of memory.
#  - x86: entry code and .bss are padded to 2 MiB, for pages of that size, so up to 4 MB of padding stay in memory. Page
#    table isolation then maps the code around the entry code into processes, too, as it does by itself on processors
#    without PCID; its contents are in the kernel's file for all to read.
#  - x86: the areas that each processor has of its own come in units of 2 MiB, and memory control groups keep 8 bytes
#    for every 4 of a unit. Units of pages are what the other architectures have.
#  - IPsec's random numbers have a jitter source, tested for 21 million instructions at boot; without it they are the
#    kernel's own, which all else uses.
lay_out() {
	local x86=$src/arch/x86/kernel
	edit_source "$x86/vmlinux.lds.S" 'define ALIGN_ENTRY_TEXT_BEGIN.*PMD_SIZE' 'define ALIGN_ENTRY_TEXT_BEGIN.*PAGE_SIZE' \
		-e '/^#define ALIGN_ENTRY_TEXT_\(BEGIN\|END\)/s/PMD_SIZE/PAGE_SIZE/' \
		-e '/^#define BSS_DECRYPTED/,/^$/s/PMD_SIZE/PAGE_SIZE/'
	edit_source "$x86/setup_percpu.c" 'atom_size = PMD_SIZE;' 'atom_size = PAGE_SIZE;' \
		-e 's/\(atom_size = \)PMD_SIZE;/\1PAGE_SIZE;/'
	edit_source "$src/crypto/Kconfig" 'select CRYPTO_JITTERENTROPY' 'config CRYPTO_JITTERENTROPY' \
		-e '/^config CRYPTO_DRBG$/,/^$/{/select CRYPTO_JITTERENTROPY/d}'
}

# edit_source FILE BEFORE AFTER SED-ARGUMENT...: edits FILE if it has the pattern BEFORE. Only once: what depends on the
# file is made anew by it.
edit_source() {
	local file=$1 before=$2 after=$3
	shift 3
	if grep -q "$before" "$file"; then
		sed -i "$@" "$file"
	fi
	if grep -q "$before" "$file" || ! grep -q "$after" "$file"; then
		say "note: ${file#"$src"/} is not as expected: the kernel will boot slower or take more memory"
	fi
}

# --- configuration ---------------------------------------------------------------------------------

check_config() {
	local name value file got bad=0
	while IFS=$'\t' read -r name value _; do
		got=$(grep -E "^($name=|# $name is not set)" "$1" | head -n 1) || got="# $name is not set"
		[[ $got == "# "* ]] && got=n || got=${got#*=}
		if [[ $got != "$value" ]]; then
			file=$(grep -lE "^($name=|# $name is not set)" "${fragment_files[@]}" | tail -n 1)
			printf '%s=%s is asked for by %s, but the kernel has %s\n' "$name" "$value" "${file#"$top"/}" "$got" >&2
			bad=$((bad + 1))
		fi
	done < <(wishes "$wish")
	[[ $bad -eq 0 ]] || die "$bad wished options did not survive. An option vanishes when one it depends on is off or
when it was renamed; look it up with: make -C $src O=$obj ARCH=$karch menuconfig  (then '/')"
}

setup() {
	unpack
	pick_compiler
	wish=$out/wish-$arch-$profile
	merge "$wish"
	key=$({ echo "$recipe $arch $source_id $epoch $compiler"; cat "$wish"; } | sha256sum | cut -c 1-16)
	result=$out/$key
	obj=$out/obj-$arch-$profile
	if [[ -z $force && -e $result/report.json ]]; then
		return
	fi
	need_tools
	# Objects of another source or compiler are of no use; kbuild would notice most, not all.
	if [[ ! -e $obj/made-from || $(< "$obj/made-from") != "$source_id $epoch $compiler" ]]; then
		rm -rf "$obj"
		mkdir -p "$obj"
		echo "$source_id $epoch $compiler" > "$obj/made-from"
	fi
	kmake -s KCONFIG_ALLCONFIG="$wish" allnoconfig
	"${make[@]}" > "$obj/config.log" 2>&1 || {
		tail -n 20 "$obj/config.log" >&2
		die "make allnoconfig failed (whole log: $obj/config.log)"
	}
	check_config "$obj/.config"
	say "configured: profile $profile, $arch, $(grep -c '=y' "$obj/.config") options on, $(grep -c . "$wish") asked for and found"
}

# --- build -----------------------------------------------------------------------------------------

watch_build() {	# PID LOG: a line now and then, so that nobody wonders
	local n=0
	while sleep 1 && kill -0 "$1" 2> /dev/null; do
		n=$((n + 1))
		[[ $((n % 15)) -ne 0 ]] || say "compiling: $(grep -c '^  CC ' "$2") files done"
	done
}

build() {
	if [[ -z $force && -e $result/report.json ]]; then
		say "up to date: ${result#"$top"/} (profile $profile, $arch)"
		publish
		return
	fi
	local began=$SECONDS log=$obj/build.log targets=(vmlinux "${image##*/}") pid status=0
	say "building with -j$jobs; log in ${log#"$top"/}"
	kmake -j"$jobs" "${targets[@]}"
	"${make[@]}" > "$log" 2>&1 < /dev/null 9>&- &
	pid=$!
	trap 'kill "$pid" 2> /dev/null || :' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	watch_build "$pid" "$log" &
	wait "$pid" || status=$?
	trap - EXIT INT TERM
	wait
	if [[ $status -ne 0 ]]; then
		grep -nE 'error:|Error [0-9]|undefined reference|No rule' "$log" | head -n 20 >&2 || tail -n 20 "$log" >&2
		die "the kernel did not build (whole log: $log)"
	fi

	local new=$out/.new-$key
	rm -rf "$new"
	mkdir -p "$new"
	cp "$obj/$image" "$new/vmlinuz"
	"$strip" -s -o "$new/vmlinux" "$obj/vmlinux" 2> /dev/null || cp "$obj/vmlinux" "$new/vmlinux"
	cp "$obj/.config" "$new/config"
	cat > "$new/report.json" <<EOF
{"profile": "$profile", "arch": "$arch", "release": "$(cat "$obj/include/config/kernel.release")",
 "options_on": $(grep -c '=y' "$obj/.config"), "files_compiled": $(grep -c '^  CC ' "$log"),
 "build_seconds": $((SECONDS - began)), "kernel_bytes": $(stat -c %s "$new/vmlinuz"),
 "vmlinux_bytes": $(stat -c %s "$new/vmlinux"), "jobs": $jobs}
EOF
	rm -rf "$result"
	mv "$new" "$result"
	publish
	say "built $(cat "$obj/include/config/kernel.release"): $(stat -c %s "$result/vmlinuz") bytes, $((SECONDS - began)) seconds, ${result#"$top"/}/vmlinuz"
}

publish() {
	local name=${out%/*}/kata-vmlinuz
	[[ $profile == default ]] || name+=-$profile
	[[ $arch == "$host" ]] || name+=-$arch
	[[ $(readlink "$name" 2> /dev/null) == "${out##*/}/$key/vmlinuz" ]] || ln -sfn "${out##*/}/$key/vmlinuz" "$name"
}

install_kernel() {
	local dest=${DESTDIR:-}${PREFIX:-/usr}/share/kata-containers version suffix=
	version=$(sed -n 's/.*"release": "\([^"]*\)".*/\1/p' "$result/report.json")
	[[ $profile == default ]] || suffix=-$profile
	mkdir -p "$dest" || die "cannot write to $dest: become root or set DESTDIR"
	install -m 0644 "$result/vmlinuz" "$dest/vmlinuz-$version$suffix"
	install -m 0644 "$result/vmlinux" "$dest/vmlinux-$version$suffix"
	install -m 0644 "$result/config" "$dest/config-$version$suffix"
	ln -sfn "vmlinuz-$version$suffix" "$dest/vmlinuz$suffix.container"
	ln -sfn "vmlinux-$version$suffix" "$dest/vmlinux$suffix.container"
	say "installed $dest/vmlinuz$suffix.container -> vmlinuz-$version$suffix"
}

if [[ $command == config ]]; then
	wish=$(mktemp)
	trap 'rm -f "$wish"' EXIT
	merge "$wish"
	cat "$wish"
	exit 0
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9> "$out/.lock"
flock -n 9 || { say "another build runs in $out; waiting for it"; flock 9; }

setup
case $command in
build | all) build ;;
install) build; install_kernel ;;
esac

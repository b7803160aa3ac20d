# SPDX-License-Identifier: Apache-2.0
# Modules of a distribution's kernel. Those of KERNEL_MODULES_DIR go to /lib/modules of the tree, with the tables that
# modprobe reads; what is to be loaded at boot stands in /etc/modules-load.d, for the agent as init or for systemd.
# shellcheck shell=bash

# KERNEL_MODULES=kata: what the devices need that hosts of Kata give a guest, and what waits for a mount or a rule that
# asks for it. Names as modprobe takes them; what a kernel has built in, or does not have, is passed over.
readonly kata_modules_boot=(virtio_pci virtio_mmio virtio_console vmw_vsock_virtio_transport virtio_blk virtio_net
	virtio_scsi sd_mod 9pnet_virtio virtiofs virtio_rng virtio_balloon virtio_mem virtio_pmem nfit nd_pmem
	ptp_kvm shpchp)
readonly kata_modules_later=(9p fuse overlay ext4 erofs loop veth bridge binfmt_misc dm_verity nf_tables nft_compat
	xt_conntrack xt_comment xt_addrtype xt_mark xt_tcpudp xt_multiport xt_MASQUERADE xt_nat xt_REDIRECT
	ip_tables iptable_filter iptable_nat ip6_tables ip6table_filter)

# make_dep DIR: the tables, where they are not there.
make_dep() {
	local dir=$1 base
	[[ ! -s $dir/modules.dep ]] || return 0
	check_program depmod || error "$KERNEL_MODULES_DIR has no modules.dep, which depmod makes"
	need_program depmod
	base=$(mktemp -d)
	mkdir -p "$base/lib/modules"
	ln -s "$(realpath "$dir")" "$base/lib/modules/${dir##*/}"
	depmod -b "$base" "${dir##*/}" || die "depmod failed for $KERNEL_MODULES_DIR. Its last part must be the kernel's release, as uname -r says it"
	rm -rf "$base"
	[[ -s $dir/modules.dep ]] || die "$KERNEL_MODULES_DIR holds no kernel modules"
}

# modules_needed DIR NAMES: their files and those that they depend on, relative to DIR, one a line.
modules_needed() {
	local dir=$1
	shift
	awk -v wanted="$*" '
		function name(path) { sub(/.*\//, "", path); sub(/\.ko(\.[a-z0-9]+)?$/, "", path); gsub(/-/, "_", path); return path }
		{ path = $1; sub(/:$/, "", path); file[name(path)] = path; $1 = ""; needs[path] = $0 }
		END {
			n = split(wanted, w, " ")
			for (i = 1; i <= n; i++) {
				gsub(/-/, "_", w[i])
				if (!(w[i] in file)) continue
				out[file[w[i]]]
				m = split(needs[file[w[i]]], d, " ")
				for (j = 1; j <= m; j++) out[d[j]]
			}
			for (p in out) print p
		}' "$dir/modules.dep" | sort
}

is_builtin() {	# DIR NAME
	[[ -e $1/modules.builtin ]] && tr - _ < "$1/modules.builtin" | grep -q -E "/${2//-/_}\.ko"
}

# modules_present DIR NAMES: sets present to those of them that are modules there; what is neither that nor built in is said.
modules_present() {
	local dir=$1 name absent=()
	shift
	present=()
	for name; do
		if [[ -n $(modules_needed "$dir" "$name") ]]; then
			present+=("$name")
		elif ! is_builtin "$dir" "$name"; then
			absent+=("$name")
		fi
	done
	[[ ${#absent[@]} -eq 0 ]] || info "Not in the kernel ${dir##*/}: ${absent[*]}"
}

install_modules() {
	local root=$1 dest base=lib present load=() from
	[[ -n $KERNEL_MODULES_DIR || $KERNEL_MODULES != kata ]] || die "KERNEL_MODULES=kata needs KERNEL_MODULES_DIR, the modules to choose from"
	if [[ -n $KERNEL_MODULES_DIR ]]; then
		from=$(realpath "$KERNEL_MODULES_DIR")
		# In a merged tree lib is a link, perhaps an absolute one.
		mkdir -p "$root/lib" 2> /dev/null || base=usr/lib
		dest=$root/$base/modules/$(basename "$from")
		mkdir -p "${dest%/*}"
		rm -rf "$dest"
		if [[ $KERNEL_MODULES == kata ]]; then
			modules_chosen "$from" "$dest"
		else
			cp -a --no-preserve=ownership "$from" "$dest"
			# Links into the tree the modules were built in.
			rm -f "$dest/build" "$dest/source"
			make_dep "$dest"
		fi
		OK "Kernel modules from $KERNEL_MODULES_DIR installed"
	fi
	[[ $KERNEL_MODULES == kata ]] || read -r -d '' -a load <<< "$KERNEL_MODULES" || :
	if [[ $KERNEL_MODULES == kata ]]; then
		modules_present "$dest" "${kata_modules_boot[@]}"
		load=("${present[@]}")
	elif [[ -n $KERNEL_MODULES_DIR ]]; then
		modules_present "$dest" "${load[@]}"
	fi
	if [[ ${#load[@]} -gt 0 ]]; then
		mkdir -p "$root/etc/modules-load.d"
		printf '%s\n' "${load[@]}" > "$root/etc/modules-load.d/kata-containers.conf"
	fi
}

# modules_chosen FROM DEST: Kata's modules and what they depend on, with tables that know no others.
modules_chosen() {
	local from=$1 dest=$2 tables path
	need_program depmod
	tables=$from
	if [[ ! -s $from/modules.dep ]]; then
		# FROM is only read: its tables are made over a tree of links.
		tables=$(mktemp -d)/${from##*/}
		cp -as "$from" "$tables"
		make_dep "$tables"
	fi
	mkdir -p "$dest"
	while read -r path; do
		mkdir -p "$dest/${path%/*}"
		install -m 0644 "$from/$path" "$dest/$path"
	done < <(modules_needed "$tables" "${kata_modules_boot[@]}" "${kata_modules_later[@]}")
	[[ $tables == "$from" ]] || rm -rf "${tables%/*}"
	for path in modules.order modules.builtin modules.builtin.modinfo; do
		[[ ! -e $from/$path ]] || install -m 0644 "$from/$path" "$dest/$path"
	done
	make_dep "$dest"
	# Neither is read by modprobe.
	rm -f "$dest/modules.order" "$dest/modules.symbols.bin" "$dest/modules.devname" "$dest/modules.builtin.modinfo"
}

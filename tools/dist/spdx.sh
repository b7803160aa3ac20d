#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes an SPDX 2.3 document (tag-value) that says which Debian packages, in which versions, went into what we ship:
# those whose archives the static programs are linked with, and those whose files are in the images.
# Usage: spdx.sh NAME VERSION DATE ROOTFS...     DATE in seconds since the epoch; the trees that the images are made of
set -euo pipefail
export LC_ALL=C
name=$1 version=$2 date=$3
shift 3

# What is linked in statically, and the sources of the kernel.
packages=(libc6-dev libnghttp2-dev libprotobuf-c-dev libseccomp-dev libcap-dev libjson-c-dev libgcc-12-dev linux-source-6.1)

# Files of the trees that are also files of this machine, byte for byte, came from a package of it.
from_trees() {
	local root file
	for root; do
		(cd "$root" && find . -type f -size +0 -printf '%P\n')
	done | sort -u | while IFS= read -r file; do
		[[ -f /$file ]] || continue
		for root; do
			if cmp -s "/$file" "$root/$file"; then
				printf '/%s\n' "$file"
				break
			fi
		done
	done
}
owner() { # FILE: dpkg may know it by its name without /usr, or with it
	dpkg-query -S "$1" 2>/dev/null || dpkg-query -S "${1#/usr}" 2>/dev/null || dpkg-query -S "/usr$1" 2>/dev/null || true
}
while IFS= read -r file; do
	p=$(owner "$file" | head -n 1)
	[[ -z $p ]] || packages+=("${p%%:*}")
done < <(from_trees "$@")

text_id() { tr -c 'A-Za-z0-9.\n' - <<<"$1"; }

cat <<END
SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
SPDXID: SPDXRef-DOCUMENT
DocumentName: $name-$version
DocumentNamespace: https://katacontainers.io/spdx/$name-$version
Creator: Tool: tools/dist/spdx.sh
Created: $(date -u -d "@$date" +%Y-%m-%dT%H:%M:%SZ)

PackageName: $name
SPDXID: SPDXRef-Package-$(text_id "$name")
PackageVersion: $version
PackageDownloadLocation: NOASSERTION
FilesAnalyzed: false
PackageLicenseConcluded: Apache-2.0
PackageLicenseDeclared: Apache-2.0
PackageCopyrightText: NOASSERTION
Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-Package-$(text_id "$name")
END
printf '%s\n' "${packages[@]}" | sort -u | while IFS= read -r p; do
	# shellcheck disable=SC2016 # dpkg's variables
	IFS=$'\t' read -r state v source source_version arch < <(dpkg-query -W \
		-f '${db:Status-Status}\t${Version}\t${source:Package}\t${source:Version}\t${Architecture}\n' "$p" 2>/dev/null | head -n 1) || continue
	[[ $state == installed ]] || continue
	cat <<END

PackageName: $p
SPDXID: SPDXRef-Package-$(text_id "$p")
PackageVersion: $v
PackageSupplier: Organization: Debian
PackageDownloadLocation: NOASSERTION
FilesAnalyzed: false
PackageSourceInfo: Debian's source package $source $source_version
PackageLicenseConcluded: NOASSERTION
PackageLicenseDeclared: NOASSERTION
PackageCopyrightText: NOASSERTION
ExternalRef: PACKAGE-MANAGER purl pkg:deb/debian/$p@$v?arch=$arch
Relationship: SPDXRef-Package-$(text_id "$name") CONTAINS SPDXRef-Package-$(text_id "$p")
END
done

# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Guest kernels: Debian's linux-source, the fragments in kernel/ over tinyconfig, all built in.

# VARIANT: architecture, source package's version, fragments, and lines to change.
kernel_variant() { # kernel_variant VARIANT: sets arch, source, fragments, patch
	arch=x86 source=6.12 patch=
	case $1 in
	type1) fragments=(base type1) ;;
	compat) fragments=(base compat) ;;
	arm64) arch=arm64 fragments=(arm64) ;;
	arm64-flush) arch=arm64 fragments=(arm64) patch=smmuv3-flush ;;
	*) die "no kernel '$1'" ;;
	esac
	fragments=("${fragments[@]/#/$here/kernel/}")
	fragments=("${fragments[@]/%/.config}")
	tarball=/usr/src/linux-source-$source.tar.xz
	[ -e "$tarball" ] || cannot "linux-source-$source is not installed: devtools/packages vm"
}

key_of_kernel() { # key_of_kernel VARIANT
	local arch source fragments patch tarball
	kernel_variant "$1"
	dpkg-query -W -f '${Version}\n' "linux-source-$source"
	cat "${fragments[@]}" ${patch:+"$here/kernel/$patch.sed"}
	declare -f kernel_make kernel_configure make_kernel
}

kernel_make() { # kernel_make OBJECTS TARGET...: reproducible, so that ccache hits
	local objects=$1 cross=
	shift
	[ "$arch" = x86 ] || cross=aarch64-linux-gnu-
	KBUILD_BUILD_TIMESTAMP=2026-01-01 KBUILD_BUILD_USER=wherry KBUILD_BUILD_HOST=wherry \
		make -C "$objects" "ARCH=$arch" "CROSS_COMPILE=$cross" \
		"CC=ccache ${cross}gcc" "HOSTCC=ccache gcc" "-j$jobs" "$@"
}

kernel_unpack() { # kernel_unpack TREE VERSION
	rm -rf "$1" && mkdir -p "$1" && tar -xf "$tarball" --strip-components=1 -C "$1" &&
		{ [ -z "$patch" ] || kernel_edit "$1"; } && echo "$2" >"$1/.unpacked"
}

# Edits are keyed to the names of functions, as Debian's 6.12 moves on; one that finds nothing fails.
kernel_edit() { # kernel_edit TREE
	local script=$here/kernel/$patch.sed file
	file=$1/$(sed -n 's/^# \([^ ]*\.c\): .*/\1/p' "$script")
	cp "$file" "$file.orig" && sed -i -f "$script" "$file" && ! cmp -s "$file" "$file.orig"
}

# Kconfig drops a symbol in silence when a dependency is missing; we do not.
kernel_configure() { # kernel_configure TREE OBJECTS
	local line lost=0
	mkdir -p "$2" && make -C "$1" "O=$2" "ARCH=$arch" tinyconfig || return 1
	cd "$2" || return 1
	KCONFIG_CONFIG=$2/.config "$1/scripts/kconfig/merge_config.sh" -O "$2" -m "$2/.config" "${fragments[@]}"
	kernel_make "$2" olddefconfig || return 1
	while IFS= read -r line; do
		grep -qxF "$line" "$2/.config" || { echo "lost: $line" && lost=1; }
	done < <(grep -h '^CONFIG_' "${fragments[@]}")
	return "$lost"
}

make_kernel() { # make_kernel VARIANT FOLDER
	local variant=$1 folder=$2 arch source fragments patch tarball image=bzImage version
	kernel_variant "$variant"
	version=$(dpkg-query -W -f '${Version}' "linux-source-$source")
	local tree=$cache/work/linux-$source${patch:+-$patch} objects=$cache/work/kernel-$variant
	[ "$arch" = x86 ] || image=Image
	grep -qx "$version" "$tree/.unpacked" 2>/dev/null ||
		step "kernel-$variant: unpack Linux $version" "$folder/unpack.log" "" kernel_unpack "$tree" "$version"
	step "kernel-$variant: configure" "$folder/configure.log" "" kernel_configure "$tree" "$objects"
	step "kernel-$variant: compile" "$folder/compile.log" 2100 kernel_make "$objects" "$image"
	[ -c /dev/null ] || die "/dev/null is no device any more: rm /dev/null; mknod -m 666 /dev/null c 1 3"
	cp "$objects/arch/$arch/boot/$image" "$folder/$image"
	cp "$objects/.config" "$folder/config"
}

# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Guest kernels: Debian's linux-source, the fragments in kernel/ over tinyconfig, all built in.
# The source is a package of this machine, or, where suites are named, one of a newer Debian suite.

# VARIANT: architecture, source package's version, fragments, and an edit for a second image.
kernel_variant() { # kernel_variant VARIANT: sets arch, source, suites, fragments, edit, image, tarball
	arch=x86 source=6.12 suites=() edit='' image=bzImage
	case $1 in
	type1) fragments=(base type1) ;;
	compat) fragments=(base compat) ;;
	arm64) arch=arm64 image=Image fragments=(arm64) edit=smmuv3-flush ;;
	new) source=7.2 suites=(trixie-backports forky sid) fragments=(new) ;;
	*) die "no kernel '$1'" ;;
	esac
	fragments=("${fragments[@]/#/$here/kernel/}")
	fragments=("${fragments[@]/%/.config}")
	tarball=/usr/src/linux-source-$source.tar.xz
	[ ${#suites[@]} -eq 0 ] || tarball=$cache/work/linux-source-$source/linux-source-$source.tar.xz
	[ ${#suites[@]} -gt 0 ] || [ -e "$tarball" ] || cannot "linux-source-$source is not installed: devtools/packages vm"
}

key_of_kernel() { # key_of_kernel VARIANT
	local arch source suites fragments edit image tarball
	kernel_variant "$1"
	if [ ${#suites[@]} -gt 0 ]; then
		echo "$source"
	else
		kernel_version
	fi
	cat "${fragments[@]}" ${edit:+"$here/kernel/$edit.sed"}
	declare -f kernel_make kernel_configure make_kernel
}

kernel_version() {
	if [ ${#suites[@]} -gt 0 ]; then
		cat "${tarball%/*}/version"
	else
		dpkg-query -W -f '${Version}\n' "linux-source-$source"
	fi
}

# The newest package that one of the suites has.
kernel_fetch() {
	local folder=${tarball%/*} package=linux-source-$source
	rm -rf "$folder" && mkdir -p "$folder"
	repositories_of deb "${suites[@]}" >"$folder/debian.sources" || return
	own_apt "$folder" update || echo "not all of the suites are there"
	(cd "$folder" && own_apt "$folder" download "$package") ||
		{ echo "no mirror has $package of Debian ${suites[*]}" && return 77; }
	dpkg-deb --fsys-tarfile "$folder/$package"_*.deb |
		tar -xOf - "./usr/src/$package.tar.xz" >"$tarball.new" || return 1
	dpkg-deb -f "$folder/$package"_*.deb Version >"$folder/version"
	rm -f "$folder/$package"_*.deb && mv "$tarball.new" "$tarball"
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
	rm -rf "$1" && mkdir -p "$1" && tar -xf "$tarball" --strip-components=1 -C "$1" && echo "$2" >"$1/.unpacked"
}

# Edits are keyed to the names of functions, as Debian's 6.12 moves on; one that finds nothing
# fails. The tree is as it was afterwards, for it is everybody's.
kernel_edited() { # kernel_edited TREE COMMAND...
	local script=$here/kernel/$edit.sed file status=0
	file=$1/$(sed -n 's/^# \([^ ]*\.c\): .*/\1/p' "$script")
	shift
	[ ! -e "$file.orig" ] || mv "$file.orig" "$file" # left by one that was killed
	cp -p "$file" "$file.orig" && sed -i -f "$script" "$file" && ! cmp -s "$file" "$file.orig" &&
		"$@" || status=$?
	mv "$file.orig" "$file" && touch "$file"
	return "$status"
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
	local variant=$1 folder=$2 arch source suites fragments edit image tarball version boot
	kernel_variant "$variant"
	[ -e "$tarball" ] || step "kernel-$variant: fetch Linux $source" "$folder/fetch.log" "" kernel_fetch
	version=$(kernel_version)
	local tree=$cache/work/linux-$source objects=$cache/work/kernel-$variant
	boot=$objects/arch/$arch/boot
	grep -qx "$version" "$tree/.unpacked" 2>/dev/null ||
		step "kernel-$variant: unpack Linux $version" "$folder/unpack.log" "" kernel_unpack "$tree" "$version"
	step "kernel-$variant: configure" "$folder/configure.log" "" kernel_configure "$tree" "$objects"
	step "kernel-$variant: compile" "$folder/compile.log" 2100 kernel_make "$objects" "$image"
	[ -c /dev/null ] || die "/dev/null is no device any more: rm /dev/null; mknod -m 666 /dev/null c 1 3"
	cp "$boot/$image" "$folder/$image"
	cp "$objects/.config" "$folder/config"
	[ -n "$edit" ] || return 0
	step "kernel-$variant: compile with $edit" "$folder/$edit.log" "" \
		kernel_edited "$tree" kernel_make "$objects" "$image"
	cp "$boot/$image" "$folder/$image-$edit"
}

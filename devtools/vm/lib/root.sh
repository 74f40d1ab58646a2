# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What an arm64 guest has for /: Debian's busybox and the libraries our test programs need, for
# arm64, unpacked. It is what they are cross-compiled against, too. Nothing in it ever runs here.

root_packages=(busybox-static libc6-dev linux-libc-dev/bookworm-backports libnuma-dev libxxhash-dev libzstd-dev libjansson-dev
	libcurl4-openssl-dev libmicrohttpd-dev libssl-dev libbsd-dev)

key_of_root() { # key_of_root ARCH
	printf '%s\n' "$1" "${root_packages[@]}"
	declare -f root_sources root_download root_unpack root_cross make_root
}

# The repositories this machine has, for the other architecture.
root_sources() { # root_sources ARCH
	source_repositories | sed "s/^Types: deb-src$/Types: deb\nArchitectures: $1/"
}

# From an empty machine of that architecture, so that all that is needed comes with it.
root_download() { # root_download FOLDER ARCH
	local folder=$1
	local -a other=(-o "APT::Architecture=$2" -o "APT::Architectures=$2" -o "Dir::State::status=$folder/status")
	mkdir -p "$folder"
	root_sources "$2" >"$folder/debian.sources"
	: >"$folder/status"
	own_apt "$folder" "${other[@]}" update || { echo "no Debian mirror answers" && return 77; }
	own_apt "$folder" "${other[@]}" install --download-only --no-install-recommends -y "${root_packages[@]}"
}

root_unpack() { # root_unpack FOLDER TREE
	local package
	mkdir -p "$2"/{proc,sys,dev,tmp,run,mnt,root,var/tmp,etc}
	for package in "$1"/archives/*.deb; do dpkg-deb -x "$package" "$2" || return 1; done
}

# Meson's description of the other machine. Its libraries are found below TREE; so are its
# headers, before those of the cross compiler, whose kernel is older.
root_cross() { # root_cross TREE
	cat <<-END
		[binaries]
		c = ['ccache', 'aarch64-linux-gnu-gcc']
		ar = 'aarch64-linux-gnu-ar'
		strip = 'aarch64-linux-gnu-strip'
		pkg-config = 'pkg-config'
		[properties]
		sys_root = '$1'
		pkg_config_libdir = '$1/usr/lib/aarch64-linux-gnu/pkgconfig:$1/usr/share/pkgconfig'
		[built-in options]
		c_args = ['--sysroot=$1', '-isystem', '$1/usr/include/aarch64-linux-gnu', '-isystem', '$1/usr/include']
		c_link_args = ['--sysroot=$1']
		[host_machine]
		system = 'linux'
		cpu_family = 'aarch64'
		cpu = 'aarch64'
		endian = 'little'
	END
}

make_root() { # make_root ARCH FOLDER
	local arch=$1 folder=$2 packages=$cache/work/root-$1
	step "root-$arch: fetch packages" "$folder/fetch.log" "" root_download "$packages" "$arch"
	step "root-$arch: unpack" "$folder/unpack.log" "" root_unpack "$packages" "$folder/tree"
	root_cross "${folder%.new}/tree" >"$folder/cross.ini"
}

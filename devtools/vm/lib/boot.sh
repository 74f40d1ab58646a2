# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# QEMU's arguments: one function per part of a machine, each appends to `args`.

# The board and its IOMMU. Needs $memory and $cpus.
# shellcheck disable=SC2054 # commas are QEMU's
board() {
	args=(-nodefaults -no-user-config -display none -no-reboot -accel tcg,thread=multi,tb-size=512
		-smp "$cpus" -m "$memory")
	case $emulator in
	x86_64*) args+=(-vga none -cpu max -M q35,kernel-irqchip=split,usb=off,smbus=off,sata=off,vmport=off) ;;
	aarch64) args+=(-cpu max,pauth=off -M virt,iommu=smmuv3,gic-version=3,acpi=off) ;;
	esac
	case $iommu in
	none) ;;
	-global*) read -ra words <<<"$iommu" && args+=("${words[@]}") ;;
	*) args+=(-device "$iommu") ;;
	esac
}

# Two nodes with half of the memory and of the cores each.
numa_nodes() {
	local half=$((memory / 2)) node
	for node in 0 1; do
		args+=(-object "memory-backend-ram,id=m$node,size=${half}M" -numa "node,nodeid=$node,memdev=m$node")
	done
	args+=(-numa "cpu,node-id=0,socket-id=0" -numa "cpu,node-id=1,socket-id=1"
		-smp "$cpus,sockets=2")
}

# One NIC. Each has a root port, and with it a group, of its own, except where QEMU does not
# translate behind one: its AMD-Vi takes the number of the bus before the bus has one.
add_nic() { # add_nic MODEL NETDEV
	local model=$1 number=$((${#nics[@]} + 1)) bus address
	case $model in
	virtio) model=virtio-net-pci,iommu_platform=on,ats=on,disable-legacy=on,mq=off ;;
	e1000e | igb | vmxnet3) ;;
	*) die "no NIC '$1': e1000e, igb, vmxnet3 or virtio" ;;
	esac
	[ "$emulator" != aarch64 ] || model+=,romfile=
	case $iommu in
	amd-iommu*)
		address=$(printf '%02x' $((7 + 2 * number))) # the virtual functions of an igb lie on 16 more
		nics+=("0000:00:$address.0") bus=pcie.0,addr=$address.0
		;;
	*)
		nics+=("$(printf '0000:%02x:00.0' "$number")") bus=port$number
		args+=(-device "pcie-root-port,id=$bus,chassis=$number,slot=$number,bus=pcie.0,addr=$(printf '%x' $((15 + number))).0")
		;;
	esac
	args+=(-device "$model,netdev=$2,bus=$bus,mac=$(printf '52:54:00:00:00:%02x' "$number")")
}

# NICs on one cable: MODEL, or MODEL-pair for MODEL+MODEL, or MODEL+MODEL+... as on a hub.
add_cable() { # add_cable MODEL[-pair|+MODEL...]
	local model number=0
	local -a models=()
	[ "${1%-pair}" = "$1" ] || set -- "${1%-pair}+${1%-pair}"
	IFS=+ read -ra models <<<"$1"
	cables=$((cables + 1))
	for model in "${models[@]}"; do
		number=$((number + 1))
		args+=(-netdev "hubport,id=cable$cables-$number,hubid=$cables")
		add_nic "$model" "cable$cables-$number"
	done
}

add_share() { # add_share TAG PATH OPTIONS
	args+=(-fsdev "local,id=$1,path=${2//,/,,},security_model=none,multidevs=remap$3"
		-device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}

# The kernel, the root file system, and the consoles: the command's is hvc0, the kernel's a file.
boot_from() { # boot_from IMAGE ROOT FOLDER
	local last='' orders="console=ttyS0 tsc=reliable no_timer_check init=$here/guest-init"
	if [ "$emulator" = aarch64 ]; then
		orders="console=ttyAMA0 init=/bin/busybox" last=" -- sh $here/guest-init"
	fi
	args+=(-kernel "$1" -append "root=host rootfstype=9p ro quiet loglevel=4 panic=-1 oops=panic \
rootflags=trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro random.trust_cpu=on $orders$append$last")
	add_share host "$2" ,readonly=on
	add_share vm "$3" ""
	args+=(-device "virtio-serial-pci,max_ports=2" -chardev "stdio,id=out,signal=off"
		-device "virtconsole,chardev=out,nr=0" -device virtio-rng-pci
		-chardev "file,id=log,path=${3//,/,,}/console.log" -serial chardev:log)
}

# SPDX-License-Identifier: BSD-3-Clause
# drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c: clearing dirty bits invalidates the TLB.
#
# iommu_dirty_bitmap_record() gathers ranges without a page size, and with none the driver's
# sync returns at once: a translation that says "writable and dirty" stays in the TLB, and the
# page is never seen dirty again. Seen in 6.12.117 on an emulated SMMU. Two lines of ours.
/^static void arm_smmu_iotlb_sync(/,/^}/ {
	/^\tif (!gather->pgsize)$/ i\
\tif (!gather->pgsize && gather->start < gather->end)\
\t\tgather->pgsize = SZ_4K;\

}

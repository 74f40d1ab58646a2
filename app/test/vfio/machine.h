/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MACHINE_H
#define MACHINE_H

/*
 * A machine that a test makes up: a folder with /sys and /dev as far as Wherry looks
 * at them. What is there is there until machine_close().
 */

#include "test.h"
#include "wherry_vfio.h"

struct machine {
	char root[64];
};

/* What a function of the machine has; NULL, 0 and -1: has not. */
struct machine_function {
	const char *address;
	const char *driver, *iommu;
	int group, cdev;      /* numbers */
	bool no_group_node;   /* the kernel has no CONFIG_VFIO_GROUP */
	bool no_cdev_node;    /* and here no CONFIG_VFIO_DEVICE_CDEV */
	bool cdev_node_gone;  /* it has, and nobody made the node */
	bool noiommu;         /* a group of noiommu mode */
	const char *pciclass; /* NULL: an Ethernet controller */
	const char *node;     /* NULL: "-1" */
};

void machine_open(struct machine *m);
void machine_close(struct machine *m);
/* A file with that content, its folders with it. */
void machine_file(struct machine *m, const char *name, const char *content);
void machine_link(struct machine *m, const char *name, const char *target);
void machine_folder(struct machine *m, const char *name);
/* The drivers vfio-pci and igb, an IOMMU dmar0. */
void machine_with_iommu(struct machine *m);
void machine_add(struct machine *m, const struct machine_function *fn);

#endif /* MACHINE_H */

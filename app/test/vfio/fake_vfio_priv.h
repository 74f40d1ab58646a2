/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FAKE_VFIO_PRIV_H
#define FAKE_VFIO_PRIV_H

#include <sys/mman.h>

#include "fake_vfio.h"

/* File descriptors that no real file has; the number behind says which object. */
#define FAKE_FD 100000 /* containers */
#define FAKE_GROUP 101000
#define FAKE_DEVICE 102000

int fake_container_open(void);
void fake_container_close(unsigned int n);
int fake_container_ioctl(unsigned int n, unsigned long request, void *arg);
/* A group comes in or goes out: 0 or -errno. */
int fake_container_enter(unsigned int n, unsigned int group);
void fake_container_leave(unsigned int n);

int fake_group_open(unsigned int n);
void fake_group_close(unsigned int n);
int fake_group_ioctl(unsigned int n, unsigned long request, void *arg);

void fake_device_init(unsigned int n);
void fake_device_close(unsigned int n);
int fake_device_ioctl(unsigned int n, unsigned long request, void *arg);
ssize_t fake_device_read(unsigned int n, void *buf, size_t len, uint64_t offset);
ssize_t fake_device_write(unsigned int n, const void *buf, size_t len, uint64_t offset);
/* fake_log.c */
int fake_log_feature(struct fake_log *log, struct vfio_device_feature *call);
void fake_log_write(struct fake_log *log, uint64_t iova);

bool fake_device_may_map(uint64_t offset, size_t len);

#endif /* FAKE_VFIO_PRIV_H */

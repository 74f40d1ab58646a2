/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CPUS_PRIV_H
#define CPUS_PRIV_H

/*
 * The agent's threads stay off the CPUs of polling cores (app_control.c). But while cores are
 * parked their CPUs have nothing to do, and what is left of the migration is what everybody
 * waits for; on a small machine both sides' threads would share the one CPU that does not
 * poll. So for that time the thread may run on those CPUs, too, and the threads that it makes.
 */

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

struct cpus {
	bool borrowed;
	pthread_t thread; /* that has borrowed */
	cpu_set_t own;    /* where it runs otherwise */
};

/* The calling thread may run where EAL's cores do. A thread that may not be moved stays. */
void cpus_borrow(struct cpus *c);
/* It may not any more. Any thread, while that one is there. Harmless when nothing was borrowed. */
void cpus_give_back(struct cpus *c);

#endif /* CPUS_PRIV_H */

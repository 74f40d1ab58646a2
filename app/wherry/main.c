/* SPDX-License-Identifier: BSD-3-Clause */
/* Usage: wherry [--help | --version] COMMAND [OPTION...] */
#include <stdio.h>
#include <string.h>

#include "wherry.h"
#include "wherry_base.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "info", cmd_info },
	{ "exec", cmd_exec },
	{ "migrate", cmd_migrate },
	{ "recover", cmd_recover },
	{ "status", cmd_status },
	{ "cancel", cmd_cancel },
	{ "reload", cmd_reload },
	{ "watch", cmd_watch },
	{ "selftest", cmd_selftest },
	{ "resolve", cmd_resolve },
	{ "forecast", cmd_forecast },
	{ "report", cmd_report },
	{ "exporter", cmd_exporter },
};

static const char usage[] =
	"Usage: wherry COMMAND [OPTION...]\n"
	"Move a running application to another process or machine, and watch it.\n"
	"\n"
	"  info      what this machine offers: IOMMUs, backends, devices, and what is missing\n"
	"  exec      run an unmodified DPDK program with its devices on iommufd\n"
	"  selftest  check a device's IOMMU by real DMA, and write a report\n"
	"  migrate   move an application to a destination that waits for it\n"
	"  recover   let a migration go on whose connection was lost\n"
	"  status    how an application and its migration stand\n"
	"  cancel    give a migration up; the application goes on where it is\n"
	"  reload    let an application read its keys and certificates again\n"
	"  resolve   say who owns, or settle it where nobody can know\n"
	"  watch     show how fast each region is written, by devices and by the CPU\n"
	"  forecast  say whether a migration would converge, and with what blackout\n"
	"  report    draw a migration: rounds, dirty rates, bandwidth, blackout, heat map\n"
	"  exporter  answer Prometheus with the state of this machine's applications\n"
	"\n"
	"wherry COMMAND --help says more. The manual is wherry(1).\n";

static const struct command *
find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

int
main(int argc, char **argv)
{
	const struct command *command;
	char name[64];

	if (argc >= 2 && strcmp(argv[1], "--help") == 0)
		return fputs(usage, stdout) < 0;
	if (argc >= 2 && strcmp(argv[1], "--version") == 0)
		return printf("wherry %s\n", wherry_version()) < 0;
	command = argc >= 2 ? find(argv[1]) : NULL;
	if (command == NULL) {
		if (argc >= 2)
			fprintf(stderr, "wherry: there is no command \"%s\"\n", argv[1]);
		fputs(usage, stderr);
		return 2;
	}
	snprintf(name, sizeof(name), "wherry %s", command->name);
	argv[1] = name;
	return command->run(argc - 1, argv + 1);
}

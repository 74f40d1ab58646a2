/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry info: what this machine offers, and where it offers less, why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "info.h"
#include "wherry.h"
#include "wherry_dirty.h"
#include "wherry_mem.h"

static char last_line[512];

const char *
info_last_line(void)
{
	return last_line;
}

void
info_forget_line(void)
{
	last_line[0] = '\0';
}

/* The first error is the cause, what follows are its effects. */

static void
keep_line(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	static bool is_error;

	(void)ctx;
	(void)area;
	if (last_line[0] != '\0' && is_error)
		return;
	is_error = level == WHERRY_LOG_ERR;
	snprintf(last_line, sizeof(last_line), "%s", line);
}

void
info_keep_lines(void)
{
	wherry_log_set(keep_line, NULL, WHERRY_LOG_INFO);
}

static json_t *
cpu_info(void)
{
	const struct wherry_tracker_opts opts = { .cpu = WHERRY_CPU_AUTO };
	struct wherry_tracker *tracker;
	const char *reason = NULL;
	json_t *info;
	int rc = wherry_tracker_create(&opts, &tracker);

	if (rc != 0)
		return json_pack("{ss ss}", "source", "none", "reason",
			last_line[0] != '\0' ? last_line : strerror(-rc));
	info = json_pack(
		"{ss}", "source", wherry_cpu_source_name(wherry_tracker_cpu(tracker, &reason)));
	json_object_set_new(info, "reason", json_string(reason != NULL ? reason : ""));
	wherry_tracker_destroy(tracker);
	return info;
}

static json_t *
node_info(void)
{
	size_t n = wherry_nodes(NULL, 0);
	struct wherry_node *nodes = calloc(n + 1, sizeof(*nodes));
	json_t *list = json_array();

	for (size_t i = 0; nodes != NULL && i < wherry_nodes(nodes, n) && i < n; i++)
		json_array_append_new(list,
			json_pack("{si sI sI si si}", "node", nodes[i].id, "total",
				(json_int_t)nodes[i].total, "free", (json_int_t)nodes[i].free,
				"free_2m", (int)nodes[i].free_2m, "free_1g",
				(int)nodes[i].free_1g));
	free(nodes);
	return list;
}

static const char *
dirty_name(enum wherry_dirty dirty)
{
	return dirty == WHERRY_DIRTY_TRACKED      ? "tracked"
		: dirty == WHERRY_DIRTY_PERPETUAL ? "perpetual"
						  : "none";
}

static const char *
exact_name(enum wherry_unmap_how how)
{
	return how == WHERRY_UNMAP_BY_FENCE      ? "by write protection"
		: how == WHERRY_UNMAP_BY_CONTENT ? "by content"
		: how == WHERRY_UNMAP_BY_NOTHING ? "refused"
						 : "by assuming all dirty";
}

json_t *
info_caps(const char *name, struct wherry_domain *dom)
{
	struct wherry_domain_caps caps;
	json_t *sizes = json_array();

	wherry_domain_get_caps(dom, &caps);
	for (unsigned int bit = 0; bit < 64; bit++)
		if ((caps.page_sizes >> bit & 1) != 0)
			json_array_append_new(sizes, json_integer((json_int_t)1 << bit));
	return json_pack("{ss sb so sI ss ss ss}", "backend", name, "available", true, "page_sizes",
		sizes, "granule", (json_int_t)caps.granule, "dirty", dirty_name(caps.dirty),
		"exact_unmap", exact_name(caps.exact_by), "reason", caps.reason);
}

static json_t *
backend_info(const char *name)
{
	struct wherry_domain *dom;
	json_t *info;
	int rc;

	info_forget_line();
	rc = wherry_domain_create(name, &dom);
	if (rc != 0)
		return json_pack("{ss sb ss}", "backend", name, "available", false, "reason",
			last_line[0] != '\0' ? last_line : strerror(-rc));
	info = info_caps(name, dom);
	wherry_domain_destroy(dom);
	return info;
}

static json_t *
all_info(void)
{
	static const char *const names[] = { "iommufd", "type1", "soft" };
	json_t *backends = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		json_array_append_new(backends, backend_info(names[i]));
	return json_pack("{ss so so so so so}", "version", wherry_version(), "machine",
		info_machine(), "cpu_writes", cpu_info(), "nodes", node_info(), "iommu", backends,
		"devices", info_devices());
}

void
info_print_sizes(const json_t *sizes)
{
	const json_t *size;
	char text[32];
	size_t i;

	json_array_foreach(sizes, i, size)
		printf(" %s", show_bytes(json_number_value(size), text, sizeof(text)));
}

static void
show_backend(const json_t *b)
{
	char text[32];

	printf("backend %-8s %s", get_text(b, "backend"),
		json_is_true(json_object_get(b, "available")) ? "available" : "not available");
	if (json_is_true(json_object_get(b, "available"))) {
		printf("; device writes %s, granule %s, exact unmap %s, pages",
			get_text(b, "dirty"),
			show_bytes(get_real(b, "granule"), text, sizeof(text)),
			get_text(b, "exact_unmap"));
		info_print_sizes(json_object_get(b, "page_sizes"));
	}
	if (*get_text(b, "reason") != '\0')
		printf(": %s", get_text(b, "reason"));
	putchar('\n');
}

static void
show_node(const json_t *n)
{
	char total[32], left[32];

	printf("NUMA node %-6llu %s, %s free; free hugepages: %llu of 2 MiB, %llu of 1 GiB\n",
		(unsigned long long)get_count(n, "node"),
		show_bytes(get_real(n, "total"), total, sizeof(total)),
		show_bytes(get_real(n, "free"), left, sizeof(left)),
		(unsigned long long)get_count(n, "free_2m"),
		(unsigned long long)get_count(n, "free_1g"));
}

static void
show_info(const json_t *info)
{
	const json_t *cpu = json_object_get(info, "cpu_writes"), *item;
	size_t i;

	printf("wherry           %s\n", get_text(info, "version"));
	info_show_machine(json_object_get(info, "machine"));
	printf("CPU writes       %s%s%s\n", get_text(cpu, "source"),
		*get_text(cpu, "reason") != '\0' ? ": " : "", get_text(cpu, "reason"));
	json_array_foreach(json_object_get(info, "nodes"), i, item) show_node(item);
	json_array_foreach(json_object_get(info, "iommu"), i, item) show_backend(item);
	info_show_devices(json_object_get(info, "devices"));
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	bool *json = state->input;

	(void)arg;
	if (key == 'j') {
		*json = true;
		return 0;
	}
	if (key == ARGP_KEY_ARG)
		argp_usage(state);
	return ARGP_ERR_UNKNOWN;
}

int
cmd_info(int argc, char **argv)
{
	static const struct argp_option option_list[] = {
		{ "json", 'j', NULL, 0, "print one JSON object", 0 },
		{ 0 },
	};
	static const struct argp argp = { option_list, parse, "",
		"Say what this machine offers: IOMMUs, how CPU writes are tracked, NUMA nodes and hugepages, backends, and each network device: what it would use, or what is missing and how to get it.",
		NULL, NULL, NULL };
	bool json = false;
	json_t *info;

	argp_parse(&argp, argc, argv, 0, NULL, &json);
	info_keep_lines();
	info = all_info();
	if (info == NULL) {
		fputs("wherry: out of memory\n", stderr);
		return 1;
	}
	if (json)
		write_json(stdout, info);
	else
		show_info(info);
	json_decref(info);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From top to bottom: a headline; panels over one time axis: bytes sent by each round, pages
 * dirtied by each source, bandwidth, with a line where the application was stopped; and a heat map, one block of rows for each region, one
 * row for each round of pre-copy.
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "report.h"
#include "wherry.h"

#define WIDTH 1000.0
#define LEFT 110.0
#define RIGHT 20.0
#define TOP 60.0
#define PANEL 110.0
#define GAP 40.0
#define ROW 8.0
#define PAGE 4096.0

#define BY_DEVICES "#d55e00"
#define BY_CPU "#0072b2"
#define SENT "#009e73"
#define STOPPED "#cc79a7"
#define AXIS "#888888"

struct panel {
	FILE *to;
	const struct report *r;
	double top;
	double most; /* value at the upper edge */
};

static double
x_of(const struct report *r, double ms)
{
	return LEFT + ms / r->total_ms * (WIDTH - LEFT - RIGHT);
}

static double
y_of(const struct panel *p, double value)
{
	return p->top + PANEL - value / p->most * PANEL;
}

static void
frame(const struct panel *p, const char *title, const char *most)
{
	svg_text(p->to, LEFT, p->top - 8, "start", title);
	svg_text(p->to, LEFT - 6, p->top + 10, "end", most);
	svg_text(p->to, LEFT - 6, p->top + PANEL, "end", "0");
	svg_line(p->to, LEFT, p->top, LEFT, p->top + PANEL, AXIS);
	svg_line(p->to, LEFT, p->top + PANEL, WIDTH - RIGHT, p->top + PANEL, AXIS);
}

static double
most_of(const struct report *r, double (*value)(const struct report *r, size_t i))
{
	double most = 0;

	for (size_t i = 0; i < json_array_size(r->rounds); i++)
		most = fmax(most, value(r, i));
	return most > 0 ? most : 1;
}

static const json_t *
round_at(const struct report *r, size_t i)
{
	return json_array_get(r->rounds, i);
}

static double
bytes(const struct report *r, size_t i)
{
	return get_real(round_at(r, i), "bytes");
}

static double
bandwidth(const struct report *r, size_t i)
{
	return get_real(round_at(r, i), "bandwidth");
}

/* What a harvest reports was written during the round before. */
static double
rate(const struct report *r, size_t i, const char *source)
{
	if (i + 1 >= json_array_size(r->rounds))
		return 0;
	return get_real(round_at(r, i + 1), source) * PAGE / get_real(round_at(r, i), "ms") * 1e3;
}

static double
rate_of_devices(const struct report *r, size_t i)
{
	return rate(r, i, "iommu_dirty_pages");
}

static double
rate_of_cpu(const struct report *r, size_t i)
{
	return rate(r, i, "cpu_dirty_pages");
}

static bool
is_final(const struct report *r, size_t i)
{
	return json_is_true(json_object_get(round_at(r, i), "final"));
}

static void
draw_bytes(struct panel *p)
{
	char most[32], tip[128], sent[32];
	double at = 0;

	p->most = most_of(p->r, bytes);
	frame(p, "bytes sent, round by round; the last one with the application stopped",
		show_bytes(p->most, most, sizeof(most)));
	for (size_t i = 0; i < json_array_size(p->r->rounds); i++) {
		double ms = get_real(round_at(p->r, i), "ms"), x = x_of(p->r, at);
		double y = y_of(p, bytes(p->r, i));

		snprintf(tip, sizeof(tip), "round %.0f: %s in %.1f ms, forecast %.1f ms",
			get_real(round_at(p->r, i), "n"),
			show_bytes(bytes(p->r, i), sent, sizeof(sent)), ms,
			get_real(round_at(p->r, i), "forecast_ms"));
		svg_rect(p->to,
			(struct box){ x, y, fmax(x_of(p->r, at + ms) - x - 0.5, 0.5),
				p->top + PANEL - y },
			is_final(p->r, i) ? STOPPED : SENT, tip);
		at += ms;
	}
}

/* A value that holds for a round each. */
static void
draw_steps(const struct panel *p, double (*value)(const struct report *r, size_t i),
	const char *colour)
{
	double at = 0, last = -1;

	for (size_t i = 0; i < json_array_size(p->r->rounds); i++) {
		double ms = get_real(round_at(p->r, i), "ms"), y = y_of(p, value(p->r, i));

		if (last >= 0)
			svg_line(p->to, x_of(p->r, at), last, x_of(p->r, at), y, colour);
		svg_line(p->to, x_of(p->r, at), y, x_of(p->r, at + ms), y, colour);
		at += ms;
		last = y;
	}
}

static void
key(FILE *to, double x, double y, const char *colour, const char *text)
{
	svg_rect(to, (struct box){ x, y - 9, 10, 10 }, colour, "");
	svg_text(to, x + 14, y, "start", text);
}

static void
draw_rates(struct panel *p)
{
	char most[32];

	p->most = fmax(most_of(p->r, rate_of_devices), most_of(p->r, rate_of_cpu));
	frame(p, "written in a second while the round was sent",
		show_bytes(p->most, most, sizeof(most)));
	key(p->to, WIDTH - 260, p->top - 8, BY_DEVICES, "by devices");
	key(p->to, WIDTH - 140, p->top - 8, BY_CPU, "by the CPU");
	draw_steps(p, rate_of_cpu, BY_CPU);
	draw_steps(p, rate_of_devices, BY_DEVICES);
}

static void
draw_bandwidth(struct panel *p)
{
	char most[32], total[32];

	p->most = most_of(p->r, bandwidth);
	frame(p, "bandwidth: bytes in a second", show_bytes(p->most, most, sizeof(most)));
	draw_steps(p, bandwidth, SENT);
	snprintf(total, sizeof(total), "%.2f s", p->r->total_ms / 1e3);
	svg_text(p->to, WIDTH - RIGHT, p->top + PANEL + 16, "end", total);
	svg_text(p->to, LEFT, p->top + PANEL + 16, "start", "0 s");
}

/* Through all panels. */
static void
draw_stop(const struct report *r, FILE *to)
{
	double x = x_of(r, r->switchover_ms);

	if (r->switchover_ms <= 0)
		return;
	svg_line(to, x, TOP, x, TOP + 3 * PANEL + 2 * GAP, STOPPED);
	svg_text(to, x, TOP + 3 * PANEL + 2 * GAP + 16, "middle", "application stopped");
}

static void
draw_headline(const struct report *r, FILE *to)
{
	char text[256], sent[32], state[32];
	bool kept = r->end != NULL && strcmp(get_text(r->end, "mappings"), "kept") == 0;
	bool rebuilt = r->end != NULL && strcmp(get_text(r->end, "mappings"), "rebuilt") == 0;

	if (r->end == NULL)
		snprintf(text, sizeof(text), "the log stops before the end of the migration");
	else
		snprintf(text, sizeof(text),
			"%s: blackout %.1f ms%s%s, %.2f s, %.0f rounds, %s sent for %s of state",
			get_text(r->end, "result"), get_real(r->end, "blackout_ms"),
			kept || rebuilt ? ", DMA mappings " : "",
			kept || rebuilt ? get_text(r->end, "mappings") : "", r->total_ms / 1e3,
			get_real(r->end, "rounds"),
			show_bytes(get_real(r->end, "bytes_sent"), sent, sizeof(sent)),
			show_bytes(get_real(r->end, "state_bytes"), state, sizeof(state)));
	svg_text(to, LEFT, 24, "start", text);
	if (r->end != NULL && *get_text(r->end, "reason") != '\0')
		svg_text(to, LEFT, 40, "start", get_text(r->end, "reason"));
}

/* White to red. */
static void
heat_colour(char digit, char colour[8])
{
	unsigned int level = digit >= '0' && digit <= '9' ? (unsigned int)(digit - '0') : 0;

	snprintf(colour, 8, "#ff%02x%02x", 255 - level * 28, 255 - level * 28);
}

static void
draw_heat_row(FILE *to, double y, const char *digits, const char *tip)
{
	double w = (WIDTH - LEFT - RIGHT) / fmax((double)strlen(digits), 1);
	char colour[8];

	for (size_t i = 0; digits[i] != '\0'; i++) {
		heat_colour(digits[i], colour);
		svg_rect(to, (struct box){ LEFT + (double)i * w, y, w, ROW - 1 }, colour, tip);
	}
}

/* Returns where it ends. */
static double
draw_region(const struct report *r, FILE *to, const char *name, double y)
{
	char tip[64];

	svg_text(to, LEFT - 6, y + ROW, "end", name);
	for (size_t i = 0; i < json_array_size(r->rounds); i++) {
		const char *digits = get_text(json_object_get(round_at(r, i), "heat"), name);

		if (*digits == '\0')
			continue;
		snprintf(tip, sizeof(tip), "round %.0f", get_real(round_at(r, i), "n"));
		draw_heat_row(to, y, digits, tip);
		y += ROW;
	}
	return y + ROW;
}

static const json_t *
regions_of(const struct report *r)
{
	return json_object_get(round_at(r, 0), "heat");
}

bool
report_draw(const struct report *r, FILE *to)
{
	double height = TOP + 3 * (PANEL + GAP), y = height + GAP;
	struct panel p = { .to = to, .r = r, .top = TOP };
	json_t *regions = json_deep_copy(regions_of(r));
	const char *name;
	json_t *digits;

	height = y +
		(double)json_object_size(regions) * ((double)json_array_size(r->rounds) + 1) * ROW;
	svg_open(to, WIDTH, height);
	draw_headline(r, to);
	draw_bytes(&p);
	p.top += PANEL + GAP;
	draw_rates(&p);
	p.top += PANEL + GAP;
	draw_bandwidth(&p);
	draw_stop(r, to);
	svg_text(to, LEFT, y - 10, "start",
		"where pages were sent from: each region from its first byte to its last, round by round");
	json_object_foreach(regions, name, digits) y = draw_region(r, to, name, y);
	json_decref(regions);
	svg_close(to);
	return fflush(to) == 0 && ferror(to) == 0;
}

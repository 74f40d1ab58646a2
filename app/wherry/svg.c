/* SPDX-License-Identifier: BSD-3-Clause */
/* Source: Scalable Vector Graphics 1.1, chapters 9 (shapes) and 10 (text). */
#include <stdbool.h>

#include "report.h"

/* Names come from elsewhere: nothing of them is markup. */
static void
put_text(FILE *to, const char *text)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		case '&':
			fputs("&amp;", to);
			break;
		case '"':
			fputs("&quot;", to);
			break;
		default:
			if ((unsigned char)*text >= ' ')
				putc(*text, to);
		}
	}
}

void
svg_open(FILE *to, double w, double h)
{
	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\">\n",
		w, h, w, h);
	svg_rect(to, (struct box){ 0, 0, w, h }, "#ffffff", "");
}

void
svg_close(FILE *to)
{
	fputs("</svg>\n", to);
}

void
svg_rect(FILE *to, struct box at, const char *colour, const char *tip)
{
	fprintf(to,
		"<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"><title>",
		at.x, at.y, at.w, at.h, colour);
	put_text(to, tip);
	fputs("</title></rect>\n", to);
}

void
svg_line(FILE *to, double x1, double y1, double x2, double y2, const char *colour)
{
	fprintf(to,
		"<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"%s\" stroke-width=\"1.5\"/>\n",
		x1, y1, x2, y2, colour);
}

void
svg_text(FILE *to, double x, double y, const char *anchor, const char *text)
{
	fprintf(to, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"%s\">", x, y, anchor);
	put_text(to, text);
	fputs("</text>\n", to);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Random peers and random clients against naive rules: the models that app/fuzz has, too. */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "fuzz_random.h"
#include "models.h"
#include "reason_priv.h"

TEST(migrate_hello_of_any_peer_is_taken_only_if_all_is_equal)
{
	fuzz_random(hello_model_run, 1000, 400);
}

TEST(migrate_control_answers_each_line_of_any_client_by_the_rules)
{
	fuzz_random(control_model_run, 200, 400);
}

TEST(migrate_destination_runs_exactly_if_all_of_it_was_right)
{
	fuzz_random(dest_model_run, 300, 600);
}

TEST(migrate_tls_is_through_only_with_the_key_and_passes_what_was_sent)
{
	fuzz_random(tls_model_run, 100, 200);
}

/* Cut in the middle of a character, a reason would spoil every line of JSON it stands in. */
TEST(migrate_reason_is_text_whatever_it_is_made_of)
{
	struct mig_reason why;
	char text[300];

	for (size_t len = 240; len < 260; len++) {
		memset(text, 'a', sizeof(text));
		memcpy(text + len, "\xe2\x82\xac", 4);
		CHECK_EQ(mig_fail(&why, -EIO, "%s", text), -EIO);
		CHECK(fuzz_is_utf8(why.text));
	}
	mig_fail(&why, -EIO, "%s", "/no/\xff/such\xc3");
	CHECK(strcmp(why.text, "/no/?/such?") == 0);
	mig_fail(&why, -EIO, "%s", "h\xc3\xa4lt \xf0\x9f\x8c\x89");
	CHECK(strcmp(why.text, "h\xc3\xa4lt \xf0\x9f\x8c\x89") == 0);
}

/* What is known of pairs, over the admin listener and as the verbs print and change it. */
#include "tests/unit/api/admin_rig.h"

#include "relay/ctl/http.h"
#include "tests/unit/ctl/said.h"

static struct said run(struct admin_rig *r, const char *line)
{
    char words[512];
    snprintf(words, sizeof(words), "%s --admin %s", line, r->address);
    return said_by(words, NULL);
}

/* The words of a command line's output, in this order, and what it says of errors. */
static void says(struct admin_rig *r, const char *line, int rc, const char *err, const char *const *words)
{
    struct said s = run(r, line);
    const char *at = s.out;
    for (size_t i = 0; words[i]; i++) {
        const char *found = strstr(at, words[i]);
        if (!found)
            fail_msg("remuda %s does not say \"%s\" here: %s%s", line, words[i], at, s.err);
        at = found + strlen(words[i]);
    }
    if (!strstr(s.err, err) || (!err[0] && s.err[0]))
        fail_msg("remuda %s says \"%s\" of errors", line, s.err);
    assert_int_equal(s.rc, rc);
    free(s.out);
    free(s.err);
}

#define SAYS(r, line, rc, err, ...) says(r, line, rc, err, (const char *const[]){__VA_ARGS__, NULL})

static int setup(void **state)
{
    struct admin_rig *r = calloc(1, sizeof(*r));
    admin_rig_open(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    admin_rig_close(*state);
    free(*state);
    return 0;
}

/* ---- the listener ---- */

static void answers(struct admin_rig *r, const char *method, const char *path, int status, const char *words)
{
    struct http_answer a;
    assert_int_equal(http_request(r->address, method, path, &a), RM_OK);
    if (!strstr(buf_cstr(&a.body), words))
        fail_msg("%s %s: %s", method, path, buf_cstr(&a.body));
    assert_int_equal(a.status, status);
    buf_fini(&a.body);
}

static void pairs_are_listed_with_their_records(void **state)
{
    struct admin_rig *r = *state;
    answers(r, "GET", "/v1/pairs", 200, "\"silent_shards\":0");
    answers(r, "GET", "/v1/pairs", 200, "\"why\":\"listed by zen\"");
    answers(r, "GET", "/v1/pairs?records=1", 200, "\"record\":\"0c0d\"");
    struct http_answer a;
    assert_int_equal(http_request(r->address, "GET", "/v1/pairs", &a), RM_OK);
    assert_null(strstr(buf_cstr(&a.body), "record"));
    buf_fini(&a.body);
}

static void a_change_says_what_is_missing(void **state)
{
    struct admin_rig *r = *state;
    answers(r, "POST", "/v1/pairs/mark", 400, "source: is needed");
    answers(r, "POST", "/v1/pairs/mark?source=a1", 400, "provider: is needed");
    answers(r, "POST", "/v1/pairs/mark?source=a1&provider=gmail", 400, "reason: is needed");
    answers(r, "POST", "/v1/pairs/mark?source=&provider=gmail&reason=x", 400, "source: is needed");
    answers(r, "POST", "/v1/pairs/clear?source=a1", 400, "provider: is needed");
    answers(r, "POST", "/v1/pairs/import", 400, "record: is needed");
    answers(r, "GET", "/v1/pairs/mark?source=a1&provider=gmail&reason=x", 405, "");
    answers(r, "POST", "/v1/pairs", 405, "");
}

static void a_change_answers_for_its_pair(void **state)
{
    struct admin_rig *r = *state;
    answers(r, "POST", "/v1/pairs/mark?source=a1&provider=gmail&reason=x", 200, "\"source\":\"a1\"");
    answers(r, "POST", "/v1/pairs/mark?source=a9&provider=gmail&reason=x", 404, "no such source");
    answers(r, "POST", "/v1/pairs/mark?source=a1&provider=stuck&reason=x", 422, "no schedule");
    answers(r, "POST", "/v1/pairs/clear?source=a1&provider=gmail", 200, "\"source\":\"a1\"");
    answers(r, "POST", "/v1/pairs/clear?source=a1&provider=yahoo", 404, "no such source");
    answers(r, "POST", "/v1/pairs/import?record=0a0b", 200, "\"source\":\"a1\"");
    answers(r, "POST", "/v1/pairs/import?record=ff", 422, "no schedule");
}

/* ---- the verbs ---- */

static void a_table_shows_stage_and_caps(void **state)
{
    struct admin_rig *r = *state;
    SAYS(r, "warmup", CTL_OK, "", "SOURCE", "FULL ON", "NOTE", "a1", "gmail", "stages", "3 of 29", "400",
         "80", "7", "0.90", "0.25", "suspended", "a2", "yahoo", "none", "-");
    SAYS(r, "warmup --source a2", CTL_OK, "", "a2", "yahoo");
    struct said s = run(r, "warmup --source a2");
    assert_null(strstr(s.out, "a1"));
    free(s.out);
    free(s.err);
    s = run(r, "warmup --provider gmail");
    assert_null(strstr(s.out, "a2"));
    free(s.out);
    free(s.err);
    SAYS(r, "warmup --json", CTL_OK, "", "\"alert_ms\": 1795000000000");
}

static void a_source_is_marked_with_a_reason(void **state)
{
    struct admin_rig *r = *state;
    SAYS(r, "warmup mark a1 gmail --reason x", CTL_USAGE, "--warm and --reason", "");
    SAYS(r, "warmup mark a1 gmail --warm", CTL_USAGE, "--warm and --reason", "");
    SAYS(r, "warmup mark a1 gmail --warm --reason moved", CTL_OK, "", "a1 at gmail: warm, without a cap");
    SAYS(r, "warmup mark a9 gmail --warm --reason moved", CTL_FAILED, "no such source", "");
    SAYS(r, "warmup mark a1 stuck --warm --reason moved", CTL_FAILED, "no schedule", "");
}

static void alerts_are_listed_and_cleared(void **state)
{
    struct admin_rig *r = *state;
    SAYS(r, "alerts list", CTL_OK, "", "RAISED", "2026-11-18", "a1", "gmail", "listed by zen");
    SAYS(r, "alerts clear a1 gmail", CTL_OK, "", "the alert is cleared");
    SAYS(r, "alerts clear a2 gmail", CTL_FAILED, "no such source", "");
}

/* Writes a file beside the log's; its path. */
static const char *file_of(struct admin_rig *r, const char *text, char out[128])
{
    snprintf(out, 128, "%s/import", r->events.dir);
    FILE *f = fopen(out, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return out;
}

static void imports(struct admin_rig *r, const char *text, int rc, const char *err, const char *out)
{
    char path[128], line[200];
    snprintf(line, sizeof(line), "warmup import %s", file_of(r, text, path));
    SAYS(r, line, rc, err, out);
    unlink(path);
}

static void what_is_exported_can_be_imported(void **state)
{
    struct admin_rig *r = *state;
    struct said s = run(r, "warmup export");
    assert_int_equal(s.rc, CTL_OK);
    json_t *v = json_loads(s.out, 0, NULL);
    assert_int_equal(json_array_size(v), 2);
    json_decref(v);
    imports(r, s.out, CTL_FAILED, "a2 at yahoo was not imported", "1 of 2 pairs imported");
    free(s.out);
    free(s.err);
    imports(r, "[ { \"record\": \"0a0b\" } ]", CTL_OK, "", "1 of 1 pairs imported");
    imports(r, "[]", CTL_OK, "", "0 of 0 pairs imported");
    imports(r, "{}", CTL_FAILED, "import:1:1: found no list", "");
    imports(r, "[\n[", CTL_FAILED, "import:2:", "");
    SAYS(r, "warmup import /nonexistent/file", CTL_FAILED, "/nonexistent/file", "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pairs_are_listed_with_their_records), TEST(a_change_says_what_is_missing),
        TEST(a_change_answers_for_its_pair),       TEST(a_table_shows_stage_and_caps),
        TEST(a_source_is_marked_with_a_reason),    TEST(alerts_are_listed_and_cleared),
        TEST(what_is_exported_can_be_imported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

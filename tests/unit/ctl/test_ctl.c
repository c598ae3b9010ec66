/* The command line: its table, its errors, its help, and the verbs that need no relay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <crypt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/metrics.h"
#include "relay/ctl/ctl.h"
#include "relay/ctl/http.h"
#include "relay/ctl/text.h"
#include "relay/metrics_table.h"
#include "relay/version.h"
#include "tests/unit/ctl/said.h"

static char relay_config[256];

static int fake_relay(const char *config_path, const char *roles)
{
    (void)roles;
    snprintf(relay_config, sizeof(relay_config), "%s", config_path);
    return 7;
}

static struct said run(const char *line)
{
    return said_by(line, fake_relay);
}

/* What was printed to stderr with this exit code. */
static void fails(const char *line, int rc, const char *words)
{
    struct said s = run(line);
    if (s.rc != rc || !strstr(s.err, words))
        print_message("remuda %s: %d: %s\n", line, s.rc, s.err);
    assert_int_equal(s.rc, rc);
    assert_non_null(strstr(s.err, words));
    said_free(&s);
}

static void every_verb_has_help(void **state)
{
    (void)state;
    struct said all = run("--help");
    assert_int_equal(all.rc, CTL_OK);
    for (const struct ctl_verb *v = ctl_verbs; v->name; v++) {
        char line[128], usage[128];
        snprintf(line, sizeof(line), "%s --help", v->name);
        snprintf(usage, sizeof(usage), "usage: remuda %s", v->name);
        struct said s = run(line);
        assert_int_equal(s.rc, CTL_OK);
        assert_non_null(strstr(s.out, usage));
        assert_non_null(strstr(s.out, v->summary));
        assert_non_null(strstr(all.out, v->summary));
        said_free(&s);
    }
    said_free(&all);
    struct said family = run("dead --help");
    assert_int_equal(family.rc, CTL_OK);
    assert_non_null(strstr(family.out, "dead replay OFFSET"));
    said_free(&family);
}

static void wrong_usage_is_told(void **state)
{
    (void)state;
    fails("", CTL_USAGE, "verbs:");
    fails("fly", CTL_USAGE, "no such verb: fly\n`remuda --help` lists them.\n");
    fails("dead", CTL_USAGE, "remuda dead list");
    fails("trace", CTL_USAGE, "an argument is missing: ID");
    fails("trace a b", CTL_USAGE, "unexpected argument: b");
    fails("queue --lanes x", CTL_USAGE, "unknown option: --lanes");
    fails("queue --lane", CTL_USAGE, "option needs a value");
    fails("queue --json=yes", CTL_USAGE, "option takes no value");
    fails("queue --lane a --lane=b", CTL_USAGE, "option given twice");
    fails("explain --from a@b", CTL_USAGE, "--from and --to are needed");
    fails("search --since yesterday --admin 127.0.0.1:1", CTL_USAGE, "expected an age");
    fails("dead show x --admin 127.0.0.1:1", CTL_USAGE, "OFFSET");
    fails("queue --admin nowhere", CTL_USAGE, "not ADDR:PORT");
}

static void an_absent_relay_is_told(void **state)
{
    (void)state;
    fails("queue --admin 127.0.0.1:1", CTL_UNREACHABLE, "is the relay running?");
    fails("alive --admin 127.0.0.1:1", CTL_UNREACHABLE, "nobody answers");
    fails("alive --admin nowhere", CTL_USAGE, "nowhere is not ADDR:PORT");
    fails("queue --config /nonexistent/remuda.yaml", CTL_CONFIG, "--admin ADDR:PORT");
    fails("check --config /nonexistent/remuda.yaml", CTL_CONFIG, "");
    fails("compact --config /nonexistent/remuda.yaml", CTL_CONFIG, "");
}

static void run_gets_the_configuration(void **state)
{
    (void)state;
    struct said s = run("run --config=/tmp/x.yaml");
    assert_int_equal(s.rc, 7);
    assert_string_equal(relay_config, "/tmp/x.yaml");
    said_free(&s);
    setenv("REMUDA_CONFIG", "/tmp/y.yaml", 1);
    s = run("run");
    assert_string_equal(relay_config, "/tmp/y.yaml");
    said_free(&s);
    unsetenv("REMUDA_CONFIG");
    s = run("run");
    assert_string_equal(relay_config, "/etc/remuda/remuda.yaml");
    said_free(&s);
}

static void version_is_the_builds(void **state)
{
    (void)state;
    struct said s = run("version"), t = run("--version");
    assert_string_equal(s.out, "remuda " REMUDA_VERSION "\n");
    assert_string_equal(t.out, s.out);
    said_free(&s);
    said_free(&t);
}

/* The hash that comes out is one that crypt takes for this password and for no other. */
static void passwords_are_hashed(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "correct horse\n", 14), 14);
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    struct said s = run("hash-password");
    dup2(saved, STDIN_FILENO);
    close(saved);
    assert_int_equal(s.rc, CTL_OK);
    s.out[strcspn(s.out, "\n")] = '\0';
    assert_memory_equal(s.out, "$y$", 3);
    assert_string_equal(crypt("correct horse", s.out), s.out);
    assert_string_not_equal(crypt("correct horsf", s.out), s.out);
    said_free(&s);
}

/* ---- references -----------------------------------------------------------------------------------------
 */

/* The tree's root, from where this file was compiled. */
static char *document(const char *name)
{
    const char *end = strstr(__FILE__, "tests/unit/");
    char path[1024];
    snprintf(path, sizeof(path), "%.*sdocs/%s", end ? (int)(end - __FILE__) : 0, __FILE__, name);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s is missing", path);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

static void is_documented(const char *verb, const char *name)
{
    struct said s = run(verb);
    char *text = document(name);
    assert_int_equal(s.rc, CTL_OK);
    if (strcmp(s.out, text) != 0)
        fail_msg("docs/%s is not what `remuda %s` prints: print it anew", name, verb);
    free(text);
    said_free(&s);
}

static void references_are_up_to_date(void **state)
{
    (void)state;
    is_documented("metrics document", "METRICS.md");
    is_documented("cli document", "CLI.md");
}

static void version_is_that_of_the_project(void **state)
{
    (void)state;
    char *text = document("../CMakeLists.txt");
    assert_non_null(strstr(text, "project(remuda VERSION " REMUDA_VERSION " "));
    free(text);
}

static void the_table_of_metrics_is_whole(void **state)
{
    (void)state;
    for (int i = 0; i < METRIC_ROWS; i++) {
        const struct metric_def *d = &metric_table[i];
        assert_non_null(d->name);
        assert_non_null(d->help);
        assert_memory_equal(d->name, "remuda_", 7);
        size_t n = strlen(d->name);
        bool total = n > 6 && strcmp(d->name + n - 6, "_total") == 0;
        assert_int_equal(total, d->type == METRIC_COUNTER);
        assert_int_equal(d->n_buckets > 0, d->type == METRIC_HISTOGRAM);
        for (int b = 1; b < d->n_buckets; b++)
            assert_true(d->buckets[b] > d->buckets[b - 1]);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(d->name, metric_table[k].name);
    }
}

/* ---- text ------------------------------------------------------------------------------------------------
 */

static void times_and_sizes_are_readable(void **state)
{
    (void)state;
    char room[TEXT_ROOM];
    assert_string_equal(text_time(0, room), "-");
    assert_string_equal(text_time(1700000000123, room), "2023-11-14 22:13:20.123 UTC");
    assert_string_equal(text_age(320, room), "320 ms");
    assert_string_equal(text_age(1500, room), "1.5 s");
    assert_string_equal(text_age(45000, room), "45 s");
    assert_string_equal(text_age(725000, room), "12 min 5 s");
    assert_string_equal(text_age(3 * 3600000, room), "3 h 0 min");
    assert_string_equal(text_age(100 * 3600000, room), "4 d 4 h");
    assert_string_equal(text_bytes(812, room), "812 B");
    assert_string_equal(text_bytes(10445, room), "10.2 KB");
    assert_string_equal(text_bytes((uint64_t)3 << 40, room), "3.0 TB");
    uint64_t ms;
    assert_true(text_parse_time("30m", 10000000, &ms));
    assert_int_equal(ms, 10000000 - 1800000);
    assert_true(text_parse_time("12345", 0, &ms));
    assert_int_equal(ms, 12345);
    assert_false(text_parse_time("", 0, &ms));
    assert_false(text_parse_time("h", 0, &ms));
    assert_false(text_parse_time("9d", 1000, &ms)); /* before 1970 */
}

static void terminals_are_safe(void **state)
{
    (void)state;
    char *out;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    text_print(f, "550 \x1b[2J\x07\xc2\x9bX\r\nmore \xc3\xa9", 2);
    fclose(f);
    assert_string_equal(out, "550 \\x1b[2J\\x07\\x9bX\\x0d\n  more \xc3\xa9");
    free(out);
}

static void tables_are_aligned(void **state)
{
    (void)state;
    char *out;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    struct text_table *t = text_table_new((const char *const[]){"NAME", ">N"}, 2);
    text_table_cell(t, "caf\xc3\xa9s");
    text_table_number(t, 7);
    text_table_cell(t, "a\nb");
    text_table_number(t, 1234);
    text_table_cell(t, "half a row");
    text_table_print(t, f);
    fclose(f);
    assert_string_equal(out, "NAME           N\ncaf\xc3\xa9s          7\na b         1234\n");
    free(out);
}

static void paths_are_encoded(void **state)
{
    (void)state;
    struct buf path = BUF_INIT;
    buf_add_str(&path, "/v1/search");
    http_path_add(&path, "recipient", "a+b&c=d@x.example");
    http_path_add(&path, "absent", NULL);
    http_path_add(&path, "tenant", "z\xc3\xa9 ");
    assert_string_equal(buf_cstr(&path), "/v1/search?recipient=a%2Bb%26c%3Dd@x.example&tenant=z%C3%A9%20");
    buf_fini(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_that_of_the_project),
        cmocka_unit_test(every_verb_has_help),
        cmocka_unit_test(wrong_usage_is_told),
        cmocka_unit_test(an_absent_relay_is_told),
        cmocka_unit_test(run_gets_the_configuration),
        cmocka_unit_test(version_is_the_builds),
        cmocka_unit_test(passwords_are_hashed),
        cmocka_unit_test(references_are_up_to_date),
        cmocka_unit_test(the_table_of_metrics_is_whole),
        cmocka_unit_test(times_and_sizes_are_readable),
        cmocka_unit_test(terminals_are_safe),
        cmocka_unit_test(tables_are_aligned),
        cmocka_unit_test(paths_are_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Providers of real MX names by the shipped data, and names of sites. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/config/settings.h"

static const struct {
    const char *provider, *domain;
    const char *hosts[4];
} cases[] = {
    {"gmail", "gmail.com", {"gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"}},
    {"gmail", "example.net", {"aspmx.l.google.com", "alt1.aspmx.l.google.com", "aspmx2.googlemail.com"}},
    {"gmail", "example.net", {"smtp.google.com"}},
    {"gmail", "example.net", {"mx1.smtp.goog"}},
    {"yahoo", "yahoo.com", {"mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net"}},
    {"yahoo", "aol.com", {"mx-aol.mail.gm0.yahoodns.net"}},
    {"yahoo", "aol.com", {"mailin-01.mx.aol.com"}},
    {"yahoo", "att.net", {"ff-ip4-mx-vip1.prodigy.net"}},
    {"yahoo-japan", "yahoo.co.jp", {"mx1.mail.yahoo.co.jp"}},
    {"yahoo-japan", "yahoo.co.jp", {NULL}},
    {"outlook", "hotmail.com", {"hotmail-com.olc.protection.outlook.com"}},
    {"office365", "contoso.com", {"contoso-com.mail.protection.outlook.com"}},
    {"office365", "contoso.com", {"contoso-com.a-v1.mx.microsoft"}},
    {"icloud", "icloud.com", {"mx01.mail.icloud.com", "mx02.mail.icloud.com"}},
    {"comcast", "comcast.net", {"mx1h1.comcast.net"}},
    {"mimecast", "example.net", {"us-smtp-inbound-1.mimecast.com"}},
    {"mimecast", "example.net", {"za-smtp-inbound-1.mimecast.co.za"}},
    {"mimecast", "example.net", {"je-smtp-inbound-1.mimecast-offshore.com"}},
    {"proofpoint", "example.net", {"mxa-00123456.gslb.pphosted.com"}},
    {"barracuda", "example.net", {"d12345a.ess.barracudanetworks.com"}},
    {"orange", "orange.fr", {"smtp-in.orange.fr"}},
    {"gmx", "gmx.de", {"mx00.gmx.net", "mx01.gmx.net"}},
    {"gmx", "web.de", {"mx-ha02.web.de"}},
    {"qq", "qq.com", {"mx1.qq.com", "mx2.qq.com"}},
    {"netease", "163.com", {"163mx01.mxmail.netease.com"}},
    {"kpn", "kpnmail.nl", {"mx.kpnmail.nl"}},
    {"netvigator", "netvigator.com", {"mx1.netvigator.com"}},
    {"fastmail", "fastmail.com", {"in1-smtp.messagingengine.com"}},
    {"proton", "proton.me", {"mail.protonmail.ch", "mailsec.protonmail.ch"}},
    {"zoho", "zoho.com", {"smtpin.zoho.com"}},
    {"zoho", "example.net", {"mx.zohomail.com"}},
    {"yandex", "yandex.ru", {"mx.yandex.ru"}},
    {"yandex", "example.net", {"mx.yandex.net"}},
    {"mailru", "mail.ru", {"mxs.mail.ru"}},
    {"godaddy", "example.net", {"smtp.secureserver.net", "mailstore1.secureserver.net"}},
    {"ovh", "example.net", {"mx1.mail.ovh.net"}},
    {"messagelabs", "example.net", {"cluster5.us.messagelabs.com"}},
    /* a trailing dot and capitals change nothing */
    {"gmail", "example.net", {"ASPMX.L.GOOGLE.COM.", "alt1.aspmx.l.google.com."}},
    /* one host of somebody else, and it is not the provider's; near misses are not matches */
    {"other", "example.net", {"aspmx.l.google.com", "mx.example.net"}},
    {"other", "example.net", {"aspmx.l.google.com", "mta5.am0.yahoodns.net"}},
    {"other", "example.net", {"mail.notgoogle.com"}},
    {"other", "example.net", {"google.com.example.net"}},
    {"other", "example.net", {"mx.mail.protection.outlook.com.example.net"}},
    {"other", "example.net", {NULL}},
};

static void test_shipped_providers(void **state)
{
    (void)state;
    char path[] = "/tmp/remuda-classify-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char *tests = strstr(__FILE__, "tests/unit/");
    dprintf(fd, "node: { name: t, hostname: t.test, data: d }\nproviders: %.*sdeploy/providers.yaml\n",
            (int)(tests - __FILE__), __FILE__);
    close(fd);
    struct settings *s = NULL;
    struct buf error = BUF_INIT;
    int err = settings_load(path, &s, &error);
    unlink(path);
    if (err)
        fail_msg("%s", buf_cstr(&error));
    const struct router_config *c = &s->router;
    bool seen[64] = {false};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int n = 0;
        while (n < 4 && cases[i].hosts[n])
            n++;
        int p = router_classify(c, span_str(cases[i].domain), cases[i].hosts, n);
        assert_string_equal(c->providers[p].name, cases[i].provider);
        seen[p] = true;
    }
    for (int i = 0; i < c->n_providers; i++)
        if (!seen[i])
            fail_msg("no test names a host of %s", c->providers[i].name);
    settings_unref(s);
    buf_fini(&error);
}

static void test_longest_suffix_wins(void **state)
{
    (void)state;
    const char *const wide[] = {".example"}, *const narrow[] = {".mx.example"};
    struct router_provider providers[] = {{.name = "other"},
                                          {.name = "narrow", .mx_suffixes = narrow, .n_mx_suffixes = 1},
                                          {.name = "wide", .mx_suffixes = wide, .n_mx_suffixes = 1}};
    struct router_config c = {.providers = providers, .n_providers = 3};
    const char *const hosts[] = {"a.mx.example", "b.example"};
    assert_int_equal(router_classify(&c, span_str("x"), hosts, 1), 1);
    assert_int_equal(router_classify(&c, span_str("x"), hosts + 1, 1), 2);
    assert_int_equal(router_classify(&c, span_str("x"), hosts, 2), ROUTER_OTHER);
}

static void test_site_is_sorted_without_duplicates(void **state)
{
    (void)state;
    const char *const a[] = {"MX2.x.test", "mx1.x.test.", "mx2.x.test"}, *const b[] = {"mx1.x.test",
                                                                                       "mx2.x.test"};
    char one[ROUTER_SITE_MOST], two[ROUTER_SITE_MOST];
    router_site(a, 3, one);
    router_site(b, 2, two);
    assert_string_equal(one, "mx1.x.test|mx2.x.test");
    assert_string_equal(one, two);
}

static void test_long_site_is_cut_with_a_hash(void **state)
{
    (void)state;
    char names[20][32];
    const char *hosts[20];
    char one[ROUTER_SITE_MOST], two[ROUTER_SITE_MOST];
    for (int i = 0; i < 20; i++) {
        snprintf(names[i], sizeof(names[i]), "mx%02d.long.example", i);
        hosts[i] = names[i];
    }
    router_site(hosts, 20, one);
    router_site(hosts, 19, two);
    assert_int_equal(strlen(one), 160 + 17);
    assert_memory_equal(one, two, 160);
    assert_string_not_equal(one, two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_providers),
        cmocka_unit_test(test_longest_suffix_wins),
        cmocka_unit_test(test_site_is_sorted_without_duplicates),
        cmocka_unit_test(test_long_site_is_cut_with_a_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

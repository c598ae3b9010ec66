/* PROXY headers: a shorter beginning never decides, what follows never matters, addresses are addresses. */
#include "lib/smtp/proxy_header.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of((const char *)data, size);
    struct smtp_proxy_header h, again;
    size_t used, used_again;
    enum smtp_proxy_status status = smtp_proxy_header_parse(in, &used, &h);
    if (status != SMTP_PROXY_DONE) {
        ENSURE(used == 0);
        ENSURE(status != SMTP_PROXY_MORE || size < SMTP_PROXY_HEADER_MOST);
    } else {
        ENSURE(used > 0 && used <= size);
        ENSURE(h.local == (h.client.ss_family == AF_UNSPEC));
        ENSURE(h.client.ss_family == h.server.ss_family);
        ENSURE(smtp_proxy_header_parse(span_of(in.ptr, used), &used_again, &again) == SMTP_PROXY_DONE);
        ENSURE(used_again == used && memcmp(&h, &again, sizeof h) == 0);
    }
    size_t most = status == SMTP_PROXY_DONE ? used : status == SMTP_PROXY_MORE ? size : 0;
    for (size_t n = 0; n < most; n += 1 + n / 64) {
        ENSURE(smtp_proxy_header_parse(span_of(in.ptr, n), &used_again, &again) == SMTP_PROXY_MORE);
    }
    return 0;
}

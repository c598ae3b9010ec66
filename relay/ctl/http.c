/* One blocking HTTP request to the admin listener. What the answer means is for the verbs. */
#include "relay/ctl/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { SILENCE_S = 60, READ_BYTES = 65536 };

static int parse_address(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
    char host[INET6_ADDRSTRLEN] = "";
    const char *colon = strrchr(text, ':');
    uint64_t port;
    memset(out, 0, sizeof(*out));
    if (!colon || !span_u64(span_str(colon + 1), &port) || port == 0 || port > 65535)
        return RM_EINVAL;
    struct span name = span_of(text, (size_t)(colon - text));
    bool six = name.len > 2 && name.ptr[0] == '[';
    if (six)
        name = span_of(name.ptr + 1, name.len - 2);
    if (name.len >= sizeof(host))
        return RM_EINVAL;
    memcpy(host, name.ptr, name.len);
    struct sockaddr_in *in = (void *)out;
    struct sockaddr_in6 *in6 = (void *)out;
    *len = six ? sizeof(*in6) : sizeof(*in);
    out->ss_family = six ? AF_INET6 : AF_INET;
    if (six)
        in6->sin6_port = htons((uint16_t)port);
    else
        in->sin_port = htons((uint16_t)port);
    void *address = six ? (void *)&in6->sin6_addr : (void *)&in->sin_addr;
    return inet_pton(out->ss_family, host, address) == 1 ? RM_OK : RM_EINVAL;
}

static int http_connect(const char *address, int *out)
{
    struct sockaddr_storage where;
    socklen_t len;
    int rc = parse_address(address, &where, &len);
    if (rc != RM_OK)
        return rc;
    int fd = socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return RM_EIO;
    struct timeval silence = {.tv_sec = SILENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence));
    if (connect(fd, (const struct sockaddr *)&where, len) != 0) {
        close(fd);
        return RM_EREFUSED;
    }
    *out = fd;
    return RM_OK;
}

static int send_all(int fd, struct span bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return RM_EIO;
        bytes = span_of(bytes.ptr + n, bytes.len - (size_t)n);
    }
    return RM_OK;
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        ssize_t n = recv(fd, buf_reserve(out, READ_BYTES), READ_BYTES, 0);
        if (n == 0)
            return RM_OK;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? RM_ETIMEDOUT : RM_EIO;
        out->len += (size_t)n;
    }
}

/* Takes the head off; the body stays. */
static int parse_answer(struct http_answer *out)
{
    struct span all = buf_span(&out->body);
    const char *end = memmem(all.ptr, all.len, "\r\n\r\n", 4);
    uint64_t status;
    if (!end || all.len < 12 || !span_istarts(all, SPAN_LIT("HTTP/1.")) ||
        !span_u64(span_of(all.ptr + 9, 3), &status))
        return RM_ECORRUPT;
    out->status = (int)status;
    buf_drop(&out->body, (size_t)(end + 4 - all.ptr));
    return RM_OK;
}

int http_request(const char *address, const char *method, const char *path, struct http_answer *out)
{
    int fd;
    *out = (struct http_answer){.body = BUF_INIT};
    int rc = http_connect(address, &fd);
    if (rc != RM_OK)
        return rc;
    struct buf request = BUF_INIT;
    buf_printf(&request,
               "%s %s HTTP/1.1\r\nHost: %s\r\nX-Remuda: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
               method, path, address);
    rc = send_all(fd, buf_span(&request));
    buf_fini(&request);
    if (rc == RM_OK)
        rc = read_all(fd, &out->body);
    close(fd);
    return rc == RM_OK ? parse_answer(out) : rc;
}

static void add_encoded(struct buf *path, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                     strchr("-._~@/", *p) != NULL;
        if (plain)
            buf_add_char(path, (char)*p);
        else
            buf_printf(path, "%%%02X", *p);
    }
}

void http_path_add(struct buf *path, const char *name, const char *value)
{
    if (!value)
        return;
    buf_add_char(path, memchr(path->data, '?', path->len) ? '&' : '?');
    buf_printf(path, "%s=", name);
    add_encoded(path, value);
}

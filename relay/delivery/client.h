/*
 * The SMTP client's protocol (RFC 5321), apart from sockets: events and bytes in, bytes and calls out through
 * struct client_env. relay/delivery/session.c joins it to a connection.
 *
 * A connection:  GREETING -> EHLO (-> HELO) [-> STARTTLS -> TLS -> EHLO] -> IDLE <-> attempts -> QUIT
 * An attempt is a row of commands: RSET when the one before left a transaction open, MAIL, RCPT for each
 * recipient, DATA, and the message with its final dot. Pipelining is two positions in that row, what was sent
 * and what was answered; without it the first is never more than one ahead of the second. There are at most
 * two attempts: the one whose answers come now, and one behind it whose commands left with the first's
 * final dot.
 */
#ifndef REMUDA_RELAY_DELIVERY_CLIENT_H
#define REMUDA_RELAY_DELIVERY_CLIENT_H

#include "lib/smtp/ehlo.h"
#include "lib/smtp/stuff.h"
#include "relay/delivery/session.h"

struct client;

/* All calls come from inside the client's own functions; up and done from client_settle only, which the
 * driver calls when it is safe (the end of the turn). */
struct client_env {
    void (*write)(void *arg, const struct span *iov, size_t n, struct blob *hold);
    uint64_t (*written)(void *arg);                /* bytes given to write so far */
    uint64_t (*flushed)(void *arg);                /* of these, taken by the kernel */
    void (*flush)(void *arg);                      /* give to the kernel now what it takes */
    void (*want_drain)(void *arg, uint64_t below); /* call client_drained when so few are pending */
    void (*deadline)(void *arg, uint64_t ms);      /* call client_timed_out then; 0: none */
    void (*start_tls)(void *arg);                  /* call client_tls_up or client_lost */
    uint64_t (*now_us)(void *arg);
    void (*want_settle)(void *arg); /* call client_settle soon */
    struct attempt *(*next)(void *arg);
    void (*up)(void *arg);
    void (*done)(void *arg, struct attempt *a);
    /* Close the connection at once: nothing that is still pending may reach the kernel. Comes once; no event
     * is taken after it, client_settle is still due. */
    void (*close)(void *arg);
    void *arg;
};

struct client_options {
    const char *ehlo; /* copied */
    enum tls_policy tls;
    const struct settings_delivery *limits; /* time limits; borrowed */
};

/* Never NULL. env is copied. */
struct client *client_new(const struct client_options *options, const struct client_env *env);
void client_free(struct client *c);

/* ---- events ---- */
void client_connected(struct client *c);
/* Returns how much of in was taken. */
size_t client_input(struct client *c, struct span in);
void client_drained(struct client *c);
void client_tls_up(struct client *c);
void client_timed_out(struct client *c);
/* The connection has ended; why in words (copied). */
void client_lost(struct client *c, const char *why);
/* Makes the calls up and done that are due. */
void client_settle(struct client *c);

/* ---- orders ---- */
void client_give(struct client *c, struct attempt *a);
/* QUIT after what runs; before the session is up it closes at once. */
void client_quit(struct client *c);

/* ---- looks ---- */
enum session_stage client_stage(const struct client *c);
bool client_idle(const struct client *c);
uint32_t client_messages(const struct client *c);
unsigned client_extensions(const struct client *c);
const struct session_failure *client_failure(const struct client *c);
uint64_t client_greeting_us(const struct client *c);
uint64_t client_tls_us(const struct client *c);

#endif

/* What client.c, client_attempt.c and client_command.c share. Nobody else includes this. */
#ifndef REMUDA_RELAY_DELIVERY_CLIENT_PRIVATE_H
#define REMUDA_RELAY_DELIVERY_CLIENT_PRIVATE_H

#include "relay/delivery/client.h"

/* An attempt on its way: positions in its row of commands. */
struct turn {
    struct attempt *attempt; /* NULL: none */
    bool rset;               /* its row begins with RSET */
    bool pipelined;          /* its commands left with the final dot of the one before */
    uint32_t sent, answered; /* commands, in the order of the row */
    uint32_t accepted;       /* recipients answered 2xx */
    bool mail_refused;
    bool lone_dot;   /* DATA was answered 354 though nobody is left to send to */
    uint64_t dot_at; /* position in what was written behind the final dot; 0: not written */
    uint64_t end_at; /* and behind the CRLF that follows it */
    uint64_t since_us;
    struct body_reader body;
    bool body_open;
    struct smtp_stuff stuff;
    struct span piece; /* of the body, not given out yet */
};

struct client {
    struct client_env env;
    const struct settings_delivery *limits;
    enum tls_policy tls;
    char *ehlo_name;
    enum session_stage stage;
    bool helo, tls_tried, tls_on;
    bool up_due, is_up; /* up is to be told; was told */
    bool over, quitting;
    bool transaction_open; /* the next MAIL needs RSET before it */
    struct smtp_ehlo offers;
    struct smtp_reply_parser parser;
    struct buf text;
    struct arena arena; /* failure texts */
    struct session_failure failure;
    uint64_t stage_us, greeting_us, tls_us;
    uint64_t progress; /* bytes the kernel had taken when the time limit of the body began to run */
    uint32_t messages;
    struct turn now, behind;
    struct attempt *done, *done_last; /* for client_settle, in order */
};

/* client_command.c: the row is [RSET] MAIL RCPT... DATA message. */
enum position { AT_RSET, AT_MAIL, AT_RCPT, AT_DATA, AT_MESSAGE };
uint32_t client_row_length(const struct turn *t);
enum position client_position(const struct turn *t, uint32_t at);
uint32_t client_recipient(const struct turn *t, uint32_t at); /* at a place that is AT_RCPT */
/* Sends commands up to DATA: all of them when the host pipelines, else the next one. */
void client_send_commands(struct client *c, struct turn *t);
/* What the message needs and the host has not offered. */
enum attempt_lacks client_lacks(const struct client *c, const struct attempt *a);
bool client_speakable(const struct attempt *a);

void client_enter(struct client *c, enum session_stage stage);
void client_say(struct client *c, struct span line);
void client_fail(struct client *c, const char *trouble);
void client_attempt_reply(struct client *c, const struct smtp_reply *reply);
/* The connection has ended: so have the attempts on it. */
void client_attempts_lost(struct client *c, const char *trouble);
/* The kernel may have taken more: sends on, or notes that the final dot is out. */
void client_push(struct client *c);
void client_attempts_fini(struct client *c);
struct attempt *client_take_done(struct client *c);
void client_keep_reply(struct arena *a, const struct smtp_reply *reply, struct session_reply *out);

#endif

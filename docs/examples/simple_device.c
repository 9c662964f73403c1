/* A datalogger in plain C: the simple profile of docs/PROTOCOL.md, delivered by one exchange over HTTPS.
 *
 *   cc simple_device.c -o simple_device -lssl -lcrypto
 *   ./simple_device HOST:PORT FOLDER
 *
 * FOLDER holds what enrolment leaves: ca.pem (the one root to trust), device.pem and device.key. It measures twice ten
 * records of a level (decimals, as integers with a scale) and a temperature (binary64), and says what became of them. A
 * real device keeps each closed batch, its number and its hash until it has read 0x00, and sends the same bytes again. */
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RECORDS = 10, MESSAGES = 3 };
struct buffer { unsigned char data[16384]; size_t size; };

static void fail(const char *why) { fprintf(stderr, "simple_device: %s\n", why); exit(1); }

static void put(struct buffer *b, const void *bytes, size_t n) {
    if (n > sizeof b->data - b->size) fail("a message is too long");
    memcpy(b->data + b->size, bytes, n);
    b->size += n;
}

/* The head of a CBOR item in its shortest form: 0 unsigned, 2 bytes, 3 text, 4 array. */
static void head(struct buffer *b, int major, uint64_t n) {
    int bytes = n < 24 ? 0 : n < 0x100 ? 1 : n < 0x10000 ? 2 : n < 0x100000000 ? 4 : 8;
    int info = bytes == 0 ? (int)n : bytes == 1 ? 24 : bytes == 2 ? 25 : bytes == 4 ? 26 : 27;
    unsigned char out[9] = { (unsigned char)(major << 5 | info) };
    for (int i = 0; i < bytes; i++) out[1 + i] = (unsigned char)(n >> 8 * (bytes - 1 - i));
    put(b, out, 1 + (size_t)bytes);
}

static void number(struct buffer *b, uint64_t n) { head(b, 0, n); }
static void text(struct buffer *b, const char *s) { head(b, 3, strlen(s)); put(b, s, strlen(s)); }
static void bytes(struct buffer *b, const void *p, size_t n) { head(b, 2, n); put(b, p, n); }
static void null(struct buffer *b) { put(b, "\xf6", 1); }

/* Eight bytes, least significant first. */
static void word(struct buffer *b, uint64_t v) {
    for (int i = 0; i < 8; i++) { unsigned char byte = (unsigned char)(v >> 8 * i); put(b, &byte, 1); }
}

static uint64_t micros(clockid_t clock) {
    struct timespec now = { 0 };
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void channel(struct buffer *b, uint64_t index, const char *name, const char *unit, uint64_t digits) {
    head(b, 4, 6); number(b, index); text(b, name); text(b, unit);
    number(b, 0); /* a number, not a boolean or a state */
    number(b, digits);
    number(b, 1000000); /* one record a second */
}

static void table(struct buffer *b, uint64_t epoch) {
    head(b, 4, 4); number(b, 1); number(b, epoch); number(b, 1); head(b, 4, 2);
    channel(b, 0, "level", "m", 1);
    channel(b, 1, "temperature", "Cel", 2);
}

static void batch(struct buffer *b, uint64_t epoch, uint64_t first, const unsigned char prev[32]) {
    uint64_t now = micros(CLOCK_REALTIME);
    struct buffer times = { .size = 0 }, level = { .size = 0 }, temperature = { .size = 0 };
    for (uint64_t i = first; i < first + RECORDS; i++) {
        double celsius = 4.5 + (double)i / 7;
        uint64_t as_bits;
        memcpy(&as_bits, &celsius, 8);
        word(&times, now - (100 - i) * 1000000);
        word(&level, 201 + i); /* 20.1 m and up: integers, and a scale of 1 */
        word(&temperature, as_bits);
    }
    head(b, 4, 12);
    number(b, 1); number(b, epoch); number(b, first); number(b, RECORDS);
    bytes(b, prev, 32);
    number(b, 1);                       /* how often this device has started */
    number(b, micros(CLOCK_MONOTONIC)); /* and how long it has been up */
    number(b, 1);                       /* the clock is synchronised */
    number(b, 1);                       /* the revision that the table describes */
    null(b);                            /* no steps of the clock */
    head(b, 4, 2); number(b, 0); bytes(b, times.data, times.size);
    head(b, 4, 2);
    head(b, 4, 6); number(b, 0); null(b); null(b); number(b, 0); number(b, 1); bytes(b, level.data, level.size);
    head(b, 4, 5); number(b, 1); null(b); null(b); number(b, 1); bytes(b, temperature.data, temperature.size);
}

static SSL *reach(const char *address, const char *folder) {
    char path[3][512], host[256];
    const char *names[3] = { "ca.pem", "device.pem", "device.key" }, *colon = strrchr(address, ':');
    for (int i = 0; i < 3; i++) snprintf(path[i], sizeof path[i], "%s/%s", folder, names[i]);
    if (!colon) fail("the address is HOST:PORT");
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)) fail("no TLS 1.3");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(context, path[0], NULL) != 1) fail("ca.pem cannot be read");
    if (SSL_CTX_use_certificate_chain_file(context, path[1]) != 1) fail("device.pem cannot be read");
    if (SSL_CTX_use_PrivateKey_file(context, path[2], SSL_FILETYPE_PEM) != 1) fail("device.key cannot be read");
    SSL *tls = SSL_new(context);
    BIO *socket = BIO_new_connect(address);
    if (!tls || !socket || BIO_do_connect(socket) != 1) fail("the cloud cannot be reached");
    SSL_set_bio(tls, socket, socket);
    if (!SSL_set1_host(tls, host) || !SSL_set_tlsext_host_name(tls, host)) fail("the name is none");
    if (SSL_connect(tls) != 1) fail("the cloud's certificate or the name in it is wrong");
    return tls;
}

int main(int argc, char **argv) {
    const char *kinds[MESSAGES] = { "channels", "batch", "batch" };
    static struct buffer message[MESSAGES], body, request, answer;
    unsigned char random[8], prev[32] = { 0 };
    char line[512];
    uint64_t epoch = 0;
    if (argc != 3) fail("usage: simple_device HOST:PORT FOLDER");
    if (RAND_bytes(random, sizeof random) != 1) fail("no randomness");
    for (int i = 0; i < 8; i++) epoch = epoch << 8 | random[i];
    table(&message[0], epoch);
    batch(&message[1], epoch, 0, prev);
    SHA256(message[1].data, message[1].size, prev);
    batch(&message[2], epoch, RECORDS, prev);
    head(&body, 4, 2); number(&body, 1); head(&body, 4, MESSAGES);
    for (int i = 0; i < MESSAGES; i++) {
        head(&body, 4, 2); text(&body, kinds[i]); bytes(&body, message[i].data, message[i].size);
    }
    snprintf(line, sizeof line, "POST /device/1/exchange HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
             "Content-Type: application/cbor\r\nContent-Length: %zu\r\n\r\n", argv[1], body.size);
    put(&request, line, strlen(line));
    put(&request, body.data, body.size);
    SSL *tls = reach(argv[1], argv[2]);
    if (SSL_write(tls, request.data, (int)request.size) != (int)request.size) fail("the connection broke");
    for (int n; (n = SSL_read(tls, line, sizeof line)) > 0;) put(&answer, line, (size_t)n);
    put(&answer, "", 1); /* so that it ends as a string, too */
    char *said = strstr((char *)answer.data, "\r\n\r\n");
    if (!said || strncmp((char *)answer.data, "HTTP/1.1 200 ", 13)) fail((char *)answer.data);
    /* [version 1, one outcome for each message, …] */
    if (memcmp(said + 4, "\x84\x01\x43", 3)) fail("this is no answer to an exchange");
    int lacking = 0;
    for (int i = 0; i < MESSAGES; i++) {
        unsigned code = (unsigned char)said[7 + i];
        printf("%s: 0x%02x %s\n", kinds[i], code, code == 0 ? "durable" : code == 0x99 ? "undecodable" : "come back");
        lacking += code != 0;
    }
    return lacking ? 2 : 0;
}

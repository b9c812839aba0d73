/*
 * sha256.h - SHA-256 (FIPS 180-4), because no library of ours has a hash. It names things (the list
 * of packages in an image's label, a workspace's folder); it protects no secret.
 */
#ifndef LAUNCHER_SHA256_H
#define LAUNCHER_SHA256_H

#include <stddef.h>

#define SHA256_HEX 65 /* 64 digits and NUL */

/* The hash of len bytes, in lower-case hexadecimal. */
void sha256_hex(const void *data, size_t len, char out[SHA256_HEX]);

#endif

/* SPDX-License-Identifier: MIT */
/* Requests of ioctl() that a filter can refuse; old headers do not have them all. */
#ifndef TESTS_IOCTLS_H
#define TESTS_IOCTLS_H

#define REQUEST_COPY         0xc028aa03u
#define REQUEST_MOVE         0xc028aa05u
#define REQUEST_PAGEMAP_SCAN 0xc0606610u
#define REQUEST_QUERY        0xc0686611u
#define REQUEST_REGISTER     0xc020aa00u
#define REQUEST_UFFD_API     0xc018aa3fu
#define REQUEST_UNREGISTER   0x8010aa01u

#endif

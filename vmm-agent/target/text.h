/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of hostile text, taken from the front of a span. */
#ifndef EXOPATCH_TARGET_TEXT_H
#define EXOPATCH_TARGET_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/span.h"

/** text_line - take the next line, without its line end. Return: false at the end of the text */
bool text_line(struct span *text, struct span *ret_line) XO_MUST_CHECK;

/** text_skip - take @prefix if @s starts with it. Return: whether it did */
bool text_skip(struct span *s, const char *prefix);

/** text_hex - take 1 to 16 hex digits, as many as there are. Return: whether there were */
bool text_hex(struct span *s, uint64_t *ret) XO_MUST_CHECK;

/** text_dec - take 1 to 19 decimal digits, as many as there are. Return: whether there were */
bool text_dec(struct span *s, uint64_t *ret) XO_MUST_CHECK;

/** text_find - offset of the first @needle, or s.len_bytes if there is none */
size_t text_find(struct span s, const char *needle);

#endif

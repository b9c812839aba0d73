/*
 * http_scan.c - the automaton of http_scan.h. It knows lines, not meanings: what a field says is
 * http.c's. It never looks back and never skips what it does not understand.
 */
#include "http_scan.h"

#include "limits.h"

/*
 * START --CR--> PREFIX_LF --LF--> START          (requests: up to LIMIT_PREFIX bytes)
 * START --token--> METHOD --SP--> TARGET --SP--> VERSION --CR--> LINE_LF       (requests)
 * START --H--> STATUS_LINE --SP--> REASON --CR--> LINE_LF                      (answers)
 * LINE_LF --LF--> FIELD --token--> NAME --:--> VALUE --CR--> VALUE_LF --LF--> FIELD
 *                 FIELD --CR--> END_LF --LF--> done
 */
enum scan_state {
	SCAN_START = 0,
	SCAN_PREFIX_LF,
	SCAN_METHOD,
	SCAN_TARGET,
	SCAN_VERSION,
	SCAN_STATUS_LINE,
	SCAN_REASON,
	SCAN_LINE_LF,
	SCAN_FIELD,
	SCAN_NAME,
	SCAN_VALUE,
	SCAN_VALUE_LF,
	SCAN_END_LF,
};

enum scan_step { STEP_GO = 0, STEP_END, STEP_BAD };

/* Classes of bytes, as bits. */
enum { TOKEN = 1, VISIBLE = 2, TEXT = 4 };

#define TV (TOKEN | VISIBLE | TEXT)
#define V_ (VISIBLE | TEXT)
/* RFC 9110 5.6.2 tokens; 5.5 field text: VCHAR, SP, HTAB, obs-text. */
/* clang-format off */
static const uint8_t classes[256] = {
	['\t'] = TEXT, [' '] = TEXT, ['!'] = TV,  ['"'] = V_, ['#'] = TV, ['$'] = TV,
	['%'] = TV,    ['&'] = TV,   ['\''] = TV, ['('] = V_, [')'] = V_, ['*'] = TV,
	['+'] = TV,    [','] = V_,   ['-'] = TV,  ['.'] = TV, ['/'] = V_, ['0'] = TV,
	['1'] = TV,    ['2'] = TV,   ['3'] = TV,  ['4'] = TV, ['5'] = TV, ['6'] = TV,
	['7'] = TV,    ['8'] = TV,   ['9'] = TV,  [':'] = V_, [';'] = V_, ['<'] = V_,
	['='] = V_,    ['>'] = V_,   ['?'] = V_,  ['@'] = V_, ['A'] = TV, ['B'] = TV,
	['C'] = TV,    ['D'] = TV,   ['E'] = TV,  ['F'] = TV, ['G'] = TV, ['H'] = TV,
	['I'] = TV,    ['J'] = TV,   ['K'] = TV,  ['L'] = TV, ['M'] = TV, ['N'] = TV,
	['O'] = TV,    ['P'] = TV,   ['Q'] = TV,  ['R'] = TV, ['S'] = TV, ['T'] = TV,
	['U'] = TV,    ['V'] = TV,   ['W'] = TV,  ['X'] = TV, ['Y'] = TV, ['Z'] = TV,
	['['] = V_,    ['\\'] = V_,  [']'] = V_,  ['^'] = TV, ['_'] = TV, ['`'] = TV,
	['a'] = TV,    ['b'] = TV,   ['c'] = TV,  ['d'] = TV, ['e'] = TV, ['f'] = TV,
	['g'] = TV,    ['h'] = TV,   ['i'] = TV,  ['j'] = TV, ['k'] = TV, ['l'] = TV,
	['m'] = TV,    ['n'] = TV,   ['o'] = TV,  ['p'] = TV, ['q'] = TV, ['r'] = TV,
	['s'] = TV,    ['t'] = TV,   ['u'] = TV,  ['v'] = TV, ['w'] = TV, ['x'] = TV,
	['y'] = TV,    ['z'] = TV,   ['{'] = V_,  ['|'] = TV, ['}'] = V_, ['~'] = TV,
	[0x80 ... 0xff] = TEXT,
};
/* clang-format on */
#undef TV
#undef V_

static enum scan_step step_start_line(struct http_scan *scan, enum http_scan_kind kind,
				      unsigned char c, size_t at, struct http_error *err);
static enum scan_step step_fields(struct http_scan *scan, unsigned char c, struct http_error *err);

/* What leaves a state as it is. */
static const uint8_t stays[] = {
	[SCAN_METHOD] = TOKEN, [SCAN_NAME] = TOKEN,  [SCAN_TARGET] = VISIBLE,
	[SCAN_VALUE] = TEXT,   [SCAN_REASON] = TEXT, [SCAN_END_LF] = 0,
};

/* How many bytes from at on leave the state as it is: what makes the scan cheap. */
static size_t run_length(enum scan_state state, const char *data, size_t at, size_t end)
{
	size_t i = at;
	unsigned mask = stays[state];
	if (mask == 0)
		return 0;
	while (i < end && (classes[(unsigned char)data[i]] & mask) != 0)
		i++;
	return i - at;
}

static enum scan_step bad(struct http_error *err, unsigned status, const char *why)
{
	err->status = status;
	err->why = why;
	return STEP_BAD;
}

static enum scan_step move(struct http_scan *scan, enum scan_state state)
{
	scan->state = (uint8_t)state;
	return STEP_GO;
}

/* What a broken message could be told to be, and whose fault it is. */
static enum http_result give_up(const struct http_scan *scan, enum http_scan_kind kind,
				const char *data, struct http_error *err)
{
	err->method = err->target = (struct http_slice){ NULL, 0 };
	if (kind == HTTP_SCAN_ANSWER)
		err->status = 502;
	if (kind == HTTP_SCAN_REQUEST && scan->method_len > 0)
		err->method = (struct http_slice){ data + scan->skip, scan->method_len };
	if (kind == HTTP_SCAN_REQUEST && scan->target_len > 0)
		err->target = (struct http_slice){ data + scan->target_at, scan->target_len };
	return HTTP_BAD;
}

enum http_result http_scan(struct http_scan *scan, enum http_scan_kind kind, const char *data,
			   size_t len, struct http_error *err)
{
	const size_t limit = kind == HTTP_SCAN_TRAILERS ? LIMIT_TRAILERS : LIMIT_HEAD;

	if (kind == HTTP_SCAN_TRAILERS && scan->state == SCAN_START)
		move(scan, SCAN_FIELD);
	for (size_t i = scan->done; i < len; i++) {
		enum scan_state state = (enum scan_state)scan->state;
		size_t room = scan->skip + limit;
		size_t run = run_length(state, data, i, len < room ? len : room);
		if (state == SCAN_TARGET && scan->target_len + run > LIMIT_TARGET)
			run = LIMIT_TARGET - scan->target_len;
		if (state == SCAN_TARGET)
			scan->target_len += (uint32_t)run;
		i += run;
		scan->done = (uint32_t)i;
		if (i == len)
			break;
		enum scan_step step;
		if (i >= room)
			step = bad(err, 431, "the head is too large");
		else if (state < SCAN_FIELD)
			step = step_start_line(scan, kind, (unsigned char)data[i], i, err);
		else
			step = step_fields(scan, (unsigned char)data[i], err);
		if (step == STEP_BAD)
			return give_up(scan, kind, data, err);
		scan->done = (uint32_t)i + 1;
		if (step == STEP_END)
			return HTTP_OK;
	}
	return HTTP_MORE;
}

bool http_is_token_char(unsigned char c)
{
	return (classes[c] & TOKEN) != 0;
}

/* "HTTP/1.0" or "HTTP/1.1", byte by byte; scan->version_at counts them. */
static bool version_byte(struct http_scan *scan, unsigned char c)
{
	static const char text[] = "HTTP/1.";
	unsigned at = scan->version_at++;
	if (at < sizeof(text) - 1)
		return c == (unsigned char)text[at];
	return at == sizeof(text) - 1 && (c == '0' || c == '1');
}

#define VERSION_LEN 8u  /* of "HTTP/1.1" */
#define STATUS_END  12u /* of "HTTP/1.1 200" */

static enum scan_step step_status_line(struct http_scan *scan, unsigned char c,
				       struct http_error *err)
{
	if (scan->version_at < VERSION_LEN) {
		if (!version_byte(scan, c))
			return bad(err, 502, "the answer is not HTTP/1.0 or HTTP/1.1");
		return move(scan, SCAN_STATUS_LINE);
	}
	bool digit = scan->version_at > VERSION_LEN && scan->version_at < STATUS_END;
	if (digit ? (c < '0' || c > '9') : c != ' ')
		return bad(err, 502, "the status line is malformed");
	return move(scan, scan->version_at++ < STATUS_END ? SCAN_STATUS_LINE : SCAN_REASON);
}

static enum scan_step step_start(struct http_scan *scan, enum http_scan_kind kind, unsigned char c,
				 struct http_error *err)
{
	if (kind == HTTP_SCAN_ANSWER)
		return step_status_line(scan, c, err);
	if (c == '\r' && scan->skip + 2 > LIMIT_PREFIX)
		return bad(err, 400, "too many empty lines before the request");
	if (c == '\r')
		return move(scan, SCAN_PREFIX_LF);
	if (!http_is_token_char(c))
		return bad(err, 400, "the request line does not start with a method");
	scan->method_len = 1;
	return move(scan, SCAN_METHOD);
}

static enum scan_step step_request_line(struct http_scan *scan, unsigned char c, size_t at,
					struct http_error *err)
{
	switch (scan->state) {
	case SCAN_METHOD:
		scan->method_len = (uint32_t)at - scan->skip;
		if (c != ' ')
			return bad(err, 400, "the method is not a token");
		scan->target_at = (uint32_t)at + 1;
		return move(scan, SCAN_TARGET);
	case SCAN_TARGET:
		if (scan->target_len >= LIMIT_TARGET && c != ' ')
			return bad(err, 414, "the target is too long");
		if (c != ' ' || scan->target_len == 0)
			return bad(err, 400,
				   "the target is not visible ASCII between single blanks");
		return move(scan, SCAN_VERSION);
	default:
		if (scan->version_at == VERSION_LEN && c == '\r')
			return move(scan, SCAN_LINE_LF);
		if (scan->version_at == VERSION_LEN || !version_byte(scan, c))
			return bad(err, 400,
				   "the request line does not end in HTTP/1.0 or HTTP/1.1");
		return STEP_GO;
	}
}

static enum scan_step step_start_line(struct http_scan *scan, enum http_scan_kind kind,
				      unsigned char c, size_t at, struct http_error *err)
{
	switch ((enum scan_state)scan->state) {
	case SCAN_START: return step_start(scan, kind, c, err);
	case SCAN_PREFIX_LF:
		if (c != '\n')
			return bad(err, 400, "a CR without LF");
		scan->skip = (uint32_t)at + 1;
		return move(scan, SCAN_START);
	case SCAN_STATUS_LINE: return step_status_line(scan, c, err);
	case SCAN_REASON:
		if (c != '\r')
			return bad(err, 502, "a control byte in the status line");
		return move(scan, SCAN_LINE_LF);
	case SCAN_LINE_LF:
		if (c != '\n')
			return bad(err, 400, "a CR without LF");
		return move(scan, SCAN_FIELD);
	case SCAN_METHOD:
	case SCAN_TARGET:
	case SCAN_VERSION:
	case SCAN_FIELD:
	case SCAN_NAME:
	case SCAN_VALUE:
	case SCAN_VALUE_LF:
	case SCAN_END_LF: break;
	}
	return step_request_line(scan, c, at, err);
}

static enum scan_step step_field(struct http_scan *scan, unsigned char c, struct http_error *err)
{
	if (c == '\r')
		return move(scan, SCAN_END_LF);
	if (c == ' ' || c == '\t')
		return bad(err, 400, "a line that starts with a blank");
	if (!http_is_token_char(c))
		return bad(err, 400, "a field without a name");
	if (++scan->fields > LIMIT_FIELDS)
		return bad(err, 431, "too many fields");
	return move(scan, SCAN_NAME);
}

static enum scan_step step_fields(struct http_scan *scan, unsigned char c, struct http_error *err)
{
	switch ((enum scan_state)scan->state) {
	case SCAN_FIELD: return step_field(scan, c, err);
	case SCAN_NAME:
		if (c != ':')
			return bad(err, 400,
				   "a field name that is not a token followed by a colon");
		return move(scan, SCAN_VALUE);
	case SCAN_VALUE:
		if (c != '\r')
			return bad(err, 400, "a control byte in a field");
		return move(scan, SCAN_VALUE_LF);
	case SCAN_VALUE_LF:
		if (c != '\n')
			return bad(err, 400, "a CR without LF");
		return move(scan, SCAN_FIELD);
	case SCAN_START:
	case SCAN_PREFIX_LF:
	case SCAN_METHOD:
	case SCAN_TARGET:
	case SCAN_VERSION:
	case SCAN_STATUS_LINE:
	case SCAN_REASON:
	case SCAN_LINE_LF:
	case SCAN_END_LF: break;
	}
	return c == '\n' ? STEP_END : bad(err, 400, "a CR without LF");
}

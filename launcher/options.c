/* options.c - see options.h. */
#include <string.h>

#include "options.h"

enum kind {
	KIND_OPTION,
	KIND_COMMAND,
};

enum flag { FLAG_NONE = 0, FLAG_BASH, FLAG_UNRESTRICTED, FLAG_PROTECT, FLAG_DRY_RUN };

struct row {
	const char *name;
	char letter; /* 0: none */
	enum kind kind;
	enum flag flag;
	enum action action;
	bool takes_args;
	const char *synopsis; /* what follows the name in the help */
	const char *help;
};

static const struct row rows[] = {
	{ "bash", 0, KIND_OPTION, FLAG_BASH, ACTION_RUN, false, "",
	  "a shell in the same jail (arguments go to bash)" },
	{ "unrestricted-network", 0, KIND_OPTION, FLAG_UNRESTRICTED, ACTION_RUN, false, "",
	  "no proxy, open network; warns; for testing only" },
	{ "dry-run", 0, KIND_OPTION, FLAG_DRY_RUN, ACTION_RUN, false, "",
	  "print what would be run" },
	{ "protect", 0, KIND_OPTION, FLAG_PROTECT, ACTION_RUN, false, "",
	  "also mount risky places of the workspace read-only" },
	{ "reinstall", 'r', KIND_COMMAND, FLAG_NONE, ACTION_REINSTALL, false, "",
	  "rebuild the images with the current package list" },
	{ "allow", 0, KIND_COMMAND, FLAG_NONE, ACTION_ALLOW, true, " ENTRY...",
	  "check each ENTRY and append it to domains.txt" },
	{ "denied", 0, KIND_COMMAND, FLAG_NONE, ACTION_DENIED, true, " [-f] [--json]",
	  "what was denied in this directory's latest session" },
	{ "doctor", 0, KIND_COMMAND, FLAG_NONE, ACTION_DOCTOR, false, "",
	  "check everything a session needs; say what to do" },
	{ "help", 'h', KIND_COMMAND, FLAG_NONE, ACTION_HELP, true, "", "print this" },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* The row that an argument names, or NULL: then it belongs to opencode. */
static const struct row *find_row(const char *arg, bool *ret_has_value)
{
	*ret_has_value = false;
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].letter != 0 && arg[0] == '-' && arg[1] == rows[i].letter &&
		    arg[2] == '\0')
			return &rows[i];
		size_t len = strlen(rows[i].name);
		if (strncmp(arg, "--", 2) != 0 || strncmp(arg + 2, rows[i].name, len) != 0)
			continue;
		*ret_has_value = arg[2 + len] == '=';
		if (arg[2 + len] == '\0' || *ret_has_value)
			return &rows[i];
	}
	return NULL;
}

static void set_flag(struct options *options, enum flag flag)
{
	switch (flag) {
	case FLAG_BASH: options->bash = true; break;
	case FLAG_UNRESTRICTED: options->unrestricted = true; break;
	case FLAG_PROTECT: options->protect = true; break;
	case FLAG_DRY_RUN: options->dry_run = true; break;
	case FLAG_NONE: break;
	}
}

/* --denied has options of its own. */
static int parse_denied(struct options *options, struct fail *why)
{
	for (size_t i = 0; i < options->args_count; i++) {
		const char *arg = options->args[i];
		if (strcmp(arg, "-f") == 0)
			options->follow = true;
		else if (strcmp(arg, "--json") == 0)
			options->json = true;
		else
			return fail_set(why, "--denied takes -f and --json, not '%s'", arg);
	}
	return 0;
}

static int check_command(struct options *options, const struct row *row, struct fail *why)
{
	if (row->action == ACTION_HELP)
		return 0;
	if (!row->takes_args && options->args_count > 0)
		return fail_set(why, "--%s takes no arguments: '%s'", row->name, options->args[0]);
	bool dry = options->dry_run && row->action != ACTION_REINSTALL;
	const char *idle = options->bash           ? "bash"
			   : options->unrestricted ? "unrestricted-network"
			   : options->protect      ? "protect"
			   : dry                   ? "dry-run"
						   : NULL;
	if (idle != NULL)
		return fail_set(why, "--%s has no meaning with --%s", idle, row->name);
	return row->action == ACTION_DENIED ? parse_denied(options, why) : 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct fail *why)
{
	const struct row *command = NULL;
	int i = 1;
	*ret = (struct options){ 0 };
	for (; i < argc && command == NULL; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		bool has_value;
		const struct row *row = find_row(argv[i], &has_value);
		if (row == NULL)
			break;
		if (has_value)
			return fail_set(why, "--%s takes no value", row->name);
		if (row->kind == KIND_COMMAND)
			command = row;
		else
			set_flag(ret, row->flag);
	}
	ret->args = argv + i;
	ret->args_count = (size_t)(argc - i);
	if (command == NULL)
		return 0;
	ret->action = command->action;
	return check_command(ret, command, why);
}

static void help_rows(FILE *out, enum kind kind)
{
	for (size_t i = 0; i < ROWS; i++) {
		char left[64];
		if (rows[i].kind != kind)
			continue;
		if (rows[i].letter != 0)
			snprintf(left, sizeof(left), "-%c, --%s%s", rows[i].letter, rows[i].name,
				 rows[i].synopsis);
		else
			snprintf(left, sizeof(left), "    --%s%s", rows[i].name, rows[i].synopsis);
		fprintf(out, "  %-27s %s\n", left, rows[i].help);
	}
}

void options_help(FILE *out)
{
	fputs("usage: prisoncode [options] [--] [opencode arguments]\n"
	      "       prisoncode COMMAND\n"
	      "\n"
	      "Runs opencode on the current directory in a Docker jail whose only way out is a "
	      "proxy\n"
	      "that lets through what ~/.prisoncode/domains.txt lists.\n"
	      "\n"
	      "Options, before the first other argument:\n",
	      out);
	help_rows(out, KIND_OPTION);
	fputs("      --                      ends them; everything after goes to opencode\n"
	      "\n"
	      "Commands:\n",
	      out);
	help_rows(out, KIND_COMMAND);
	fputs("\n"
	      "Files in ~/.prisoncode: domains.txt (the allowlist), packages.txt (packages of the\n"
	      "image), audit/ (what was allowed and denied), state/ (opencode's history).\n"
	      "Environment: PRISONCODE_AUTH_FILE, PRISONCODE_CONFIG_DIR, PRISONCODE_ENV,\n"
	      "PRISONCODE_MEMORY, PRISONCODE_PIDS, PRISONCODE_BASE_IMAGE; see prisoncode(1).\n",
	      out);
}

const char *options_name(size_t i)
{
	return i < ROWS ? rows[i].name : NULL;
}

/*
 * archive_library = 'pgark' (PostgreSQL 15 and later): hands WAL files to pgark's background worker over its socket, so
 * that no process is started for a segment. If no worker answers, it runs `pgark archive-push`, which starts one.
 *
 * Plain C against the headers of one server version; nothing of pgark is linked in. docs/guide/archiving.md tells how it
 * is set up, src/ops/push_socket.h what is spoken on the socket.
 */
#include "postgres.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#if PG_VERSION_NUM >= 160000
#include "archive/archive_module.h"
#else
#include "postmaster/pgarch.h"
#endif
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

void _PG_init(void);

#define DEFAULT_SPOOL_PATH "/var/spool/pgark"
/* The worker answers within its archive-timeout; one that is stuck must not hold up the server for ever. */
#define ANSWER_TIMEOUT_MS 600000
#define ANSWER_BYTES_MAX 8192

extern char **environ;

static char *stanza = NULL;
static char *command = NULL;
static char *arguments = NULL;
static char *spool_path = NULL;

/* What is open during one call, for whoever cleans up after an error. */
typedef struct Call
{
	int directory;
	int socket;
	int output;
	pid_t child;
	bool latch_was_set;
} Call;

typedef enum Answer
{
	ANSWER_STORED,
	ANSWER_FAILED,
	ANSWER_NONE						/* nobody is there, or went away: says nothing of the file */
} Answer;

/* Wait until `fd` can be read; false at the deadline, or when the archiver is to end. */
static bool
wait_readable(Call *call, int fd, TimestampTz deadline)
{
	for (;;)
	{
		long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		int events;

		if (left <= 0 || ShutdownRequestPending)
			return false;
		events = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, fd, left,
								   PG_WAIT_EXTENSION);
		if (events & WL_LATCH_SET)
		{
			/* The archiver's loop needs to see it too: it is set again at the end of the call. */
			ResetLatch(MyLatch);
			call->latch_was_set = true;
			CHECK_FOR_INTERRUPTS();
		}
		if (events & WL_SOCKET_READABLE)
			return true;
	}
}

/* Read what comes on `fd` to its end; false if the wait was given up. */
static bool
read_to_end(Call *call, int fd, StringInfo text)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ANSWER_TIMEOUT_MS);

	for (;;)
	{
		char buffer[1024];
		ssize_t got;

		if (!wait_readable(call, fd, deadline))
			return false;
		got = read(fd, buffer, sizeof(buffer));
		if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
			continue;
		if (got <= 0)
			return true;
		/* What is too long is read on, so that its writer can end. */
		if (text->len + got <= ANSWER_BYTES_MAX)
			appendBinaryStringInfo(text, buffer, (int) got);
	}
}

/* Connect to the worker's socket; false if nobody listens. */
static bool
connect_worker(Call *call)
{
	struct sockaddr_un address;
	const char *spool = spool_path != NULL && spool_path[0] != '\0' ? spool_path : DEFAULT_SPOOL_PATH;
	char *directory = psprintf("%s/archive/%s", spool, stanza);

	/* Through the open directory: a socket's path has 107 bytes at most. */
	call->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (call->directory < 0)
		return false;
	call->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (call->socket < 0)
		return false;
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/push.sock", call->directory);
	return connect(call->socket, (struct sockaddr *) &address, sizeof(address)) == 0;
}

static Answer
ask_worker(Call *call, const char *file, const char *absolute_path)
{
	StringInfoData text;
	char *request = psprintf("push %s\n", absolute_path);
	size_t bytes = strlen(request);

	if (!connect_worker(call) || send(call->socket, request, bytes, MSG_NOSIGNAL) != (ssize_t) bytes)
		return ANSWER_NONE;
	initStringInfo(&text);
	if (!read_to_end(call, call->socket, &text))
	{
		ereport(WARNING, (errmsg("pgark gave no answer for WAL file \"%s\"", file)));
		return ANSWER_FAILED;
	}
	if (strcmp(text.data, "ok\n") == 0)
		return ANSWER_STORED;
	if (strcmp(text.data, "ok dropped\n") == 0)
	{
		ereport(WARNING,
				(errmsg("pgark gave up WAL file \"%s\" and did not store it", file),
				 errdetail("More WAL waits to be archived than archive-push-queue-max allows."),
				 errhint("Make a new backup: recovery cannot go past this file.")));
		return ANSWER_STORED;
	}
	if (strncmp(text.data, "error ", 6) == 0)
	{
		const char *message = strchr(text.data, '\n');

		ereport(WARNING,
				(errmsg("pgark could not archive WAL file \"%s\"", file),
				 errdetail_internal("%s", message != NULL ? message + 1 : text.data)));
		return ANSWER_FAILED;
	}
	return ANSWER_NONE;
}

/* The words of the command line, ended by NULL. */
static char **
command_words(const char *absolute_path)
{
	char *rest = pstrdup(arguments != NULL ? arguments : "");
	char **words = palloc0(sizeof(char *) * (strlen(rest) / 2 + 8));
	int count = 0;
	char *word;

	words[count++] = command;
	while ((word = strtok_r(count == 1 ? rest : NULL, " \t\n", &rest)) != NULL)
		words[count++] = word;
	words[count++] = psprintf("--stanza=%s", stanza);
	if (spool_path != NULL && spool_path[0] != '\0')
		words[count++] = psprintf("--spool-path=%s", spool_path);
	words[count++] = pstrdup("--archive-async");
	words[count++] = pstrdup("archive-push");
	words[count++] = pstrdup(absolute_path);
	return words;
}

/* Start the command, its errors on a pipe. An errno value. */
static int
start_command(Call *call, char **words)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	sigset_t ignored;
	int pipe_ends[2];
	int failure;

	if (pipe2(pipe_ends, O_CLOEXEC) != 0)
		return errno;
	call->output = pipe_ends[0];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], 2);
	posix_spawnattr_init(&attributes);
	sigemptyset(&none);
	sigemptyset(&ignored);
	sigaddset(&ignored, SIGPIPE);
	sigaddset(&ignored, SIGINT);
	sigaddset(&ignored, SIGALRM);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &ignored);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	failure = posix_spawnp(&call->child, words[0], &actions, &attributes, words, environ);
	if (failure != 0)
		call->child = 0;
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_ends[1]);
	return failure;
}

static int
end_of_child(Call *call)
{
	int status = 0;

	while (waitpid(call->child, &status, 0) < 0 && errno == EINTR)
		;
	call->child = 0;
	return status;
}

static bool
run_command(Call *call, const char *file, const char *absolute_path)
{
	StringInfoData text;
	int status;
	int failure = start_command(call, command_words(absolute_path));

	if (failure != 0)
	{
		errno = failure;
		ereport(WARNING,
				(errmsg("could not run \"%s\" to archive WAL file \"%s\": %m", command, file),
				 errhint("Set pgark.command to the path of pgark.")));
		return false;
	}
	initStringInfo(&text);
	if (!read_to_end(call, call->output, &text))
	{
		kill(call->child, SIGTERM);
		end_of_child(call);
		ereport(WARNING, (errmsg("archiving of WAL file \"%s\" was interrupted", file)));
		return false;
	}
	status = end_of_child(call);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && text.len == 0)
		ereport(WARNING,
				(errmsg("could not run \"%s\" to archive WAL file \"%s\"", command, file),
				 errhint("Set pgark.command to the path of pgark.")));
	else
		ereport(WARNING,
				(errmsg("pgark could not archive WAL file \"%s\"", file),
				 text.len > 0 ? errdetail_internal("%s", text.data)
							  : errdetail("The command ended with status %d.", status)));
	return false;
}

static void
clean_up(Call *call)
{
	if (call->child > 0)
	{
		kill(call->child, SIGTERM);
		end_of_child(call);
	}
	if (call->directory >= 0)
		close(call->directory);
	if (call->socket >= 0)
		close(call->socket);
	if (call->output >= 0)
		close(call->output);
	if (call->latch_was_set)
		SetLatch(MyLatch);
}

static bool
push(const char *file, const char *path)
{
	Call call = {.directory = -1, .socket = -1, .output = -1, .child = 0, .latch_was_set = false};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pgark", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	volatile bool stored = false;

	PG_TRY();
	{
		char *absolute_path = path[0] == '/' ? pstrdup(path) : psprintf("%s/%s", DataDir, path);
		Answer answer = ask_worker(&call, file, absolute_path);

		stored = answer == ANSWER_NONE ? run_command(&call, file, absolute_path) : answer == ANSWER_STORED;
	}
	PG_FINALLY();
	{
		clean_up(&call);
		MemoryContextSwitchTo(before);
		MemoryContextDelete(context);
	}
	PG_END_TRY();
	return stored;
}

static bool
is_configured(void)
{
	if (stanza != NULL && stanza[0] != '\0')
		return true;
#ifdef arch_module_check_errdetail	/* 17 and later */
	arch_module_check_errdetail("%s is not set.", "pgark.stanza");
#endif
	return false;
}

#if PG_VERSION_NUM >= 160000

static bool
check_configured(ArchiveModuleState *state)
{
	return is_configured();
}

static bool
archive_file(ArchiveModuleState *state, const char *file, const char *path)
{
	return push(file, path);
}

static const ArchiveModuleCallbacks callbacks = {
	.startup_cb = NULL,
	.check_configured_cb = check_configured,
	.archive_file_cb = archive_file,
	.shutdown_cb = NULL,
};

const ArchiveModuleCallbacks *
_PG_archive_module_init(void)
{
	return &callbacks;
}

#else

void
_PG_archive_module_init(ArchiveModuleCallbacks *callbacks)
{
	callbacks->check_configured_cb = is_configured;
	callbacks->archive_file_cb = push;
}

#endif

void
_PG_init(void)
{
	DefineCustomStringVariable("pgark.stanza", "Stanza of pgark that this cluster is.", NULL, &stanza, "", PGC_SIGHUP, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("pgark.command", "Path of pgark.", "A name without slash is looked up in PATH.", &command,
							   "pgark", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("pgark.arguments", "Further options for pgark, separated by spaces.", NULL, &arguments, "",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("pgark.spool_path", "spool-path of pgark, if it is not " DEFAULT_SPOOL_PATH ".", NULL,
							   &spool_path, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("pgark");
}

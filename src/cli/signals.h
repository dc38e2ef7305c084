// Signals of a command line run: ask once, insist with the second.
#pragma once

#include "core/cancel.h"

namespace pgark {

/// SIGINT, SIGTERM and SIGHUP cancel `token` (which must outlive the process's work); a second one ends the process at
/// once with 128 + signal. SIGPIPE is ignored. Call once, before threads start.
void install_signal_handlers(CancelToken& token);

/// The first signal that came, 0 if none did.
int received_signal();

}  // namespace pgark

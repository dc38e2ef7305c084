// Holds: a person's word that a backup or a dump stays, until a time or until the word is taken back.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// What the newest hold object of a backup or dump says. docs/format/expire.md is normative.
struct Hold {
  std::optional<Timestamp> until;  // Timestamp::max(): until it is released; none: it was released.
  std::string reason;
  Timestamp set{};  // When this was said, by the clock of that machine.

  bool holds(Timestamp now) const { return until && *until > now; }
};

/// Say it: a new object "<stanza>/backup/<label>/hold.<n>", or "<stanza>/dump/<label>/hold.<n>" if the label is one of
/// a dump (I1); the newest counts.
/// Errors: kNotFound if the backup or dump does not exist.
Result<> write_hold(const Repository& repository, const std::string& stanza, const std::string& label,
                    const Hold& hold);

/// The newest hold of each backup that ever had one, released ones included, by label.
/// Errors: of the store; kCorrupt, naming the object, if one cannot be read: what cannot be read might hold.
Result<std::map<std::string, Hold>> read_holds(const Repository& repository, const std::string& stanza);
/// The same of dumps.
Result<std::map<std::string, Hold>> read_dump_holds(const Repository& repository, const std::string& stanza);

}  // namespace pgark

// Counting rows in pg_dump's tar format, whose members are the files of the directory format.
#pragma once

#include <memory>

#include "pg/dump_toc.h"

namespace pgark {

/// Counts by dump id, once the table of contents (its first member) has passed by.
std::unique_ptr<pg::DumpRowCounter> count_tar_rows();

}  // namespace pgark

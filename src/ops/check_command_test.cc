#include "ops/check_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// "hides: || true", "path", "copy: cp".
std::vector<std::string> faults(const std::string& command) {
  std::vector<std::string> texts;
  for (const CommandFault& fault : archive_command_faults(command)) {
    switch (fault.risk) {
      case CommandRisk::kHidesFailure:
        texts.push_back("hides: " + fault.part);
        break;
      case CommandRisk::kNoPath:
        texts.emplace_back("path");
        break;
      case CommandRisk::kUnsafeCopy:
        texts.push_back("copy: " + fault.part);
        break;
    }
  }
  return texts;
}

TEST(ArchiveCommand, GoodOnesHaveNoFault) {
  for (const char* good : {"pgark --stanza=main archive-push %p",
                           "/usr/bin/pgark --stanza=main archive-push \"%p\"",
                           "pgark --stanza=main archive-push %p;",
                           "test ! -f /tmp/hold && pgark --stanza=main archive-push %p",
                           "pgark --stanza=main archive-push %p && cp %p /second/%f",
                           "pgark --stanza=main archive-push %p || exit 1",
                           "pgark --stanza=main archive-push %p || false",
                           "pgark --stanza=main archive-push %p >> /tmp/log 2>&1",
                           "pgark --stanza=main archive-push %p &> /tmp/log",
                           "pgark --stanza=main archive-push %p || pgark --stanza=main --repo=2 archive-push %p",
                           "pgark --stanza=main archive-push %p; rc=$?; logger done; exit $rc",
                           "set -o pipefail; pgark --stanza=main archive-push %p | tee /tmp/log",
                           "cp %p /second/%f; pgark --stanza=main archive-push %p",
                           "if pgark archive-push %p; then true; else exit 1; fi",
                           "PGARK_CONFIG='/etc/a;b|c' pgark --stanza=main archive-push %p",
                           "env X=1 pgark --stanza=main archive-push %p",
                           "/usr/local/bin/archive.sh %p %f",
                           "/usr/local/bin/archive.sh %p %f || exit 1",
                           "(disabled)",
                           "",
                           "pgark --stanza=main archive-push %p || (logger failed; exit 1)",
                           "pgark --stanza=main archive-push %p || { echo failed; false; }",
                           "pgark --stanza=main archive-push %p || ( echo failed >&2 ; false)",
                           "dd if=%p of=/archive/%f conv=fsync",
                           "pgbackrest --stanza=main archive-push %p"}) {
    EXPECT_THAT(faults(good), IsEmpty()) << good;
  }
}

TEST(ArchiveCommand, ThatHidesFailureIsFound) {
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p || true"), ElementsAre("hides: || true"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p || /bin/true"), ElementsAre("hides: || /bin/true"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p || :"), ElementsAre("hides: || :"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p; true"), ElementsAre("hides: ; true"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p; exit 0"), ElementsAre("hides: ; exit 0"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p || exit 0"), ElementsAre("hides: || exit 0"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p &"), ElementsAre("hides: &"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p | logger"), ElementsAre("hides: | logger"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p; cp %p /second/%f"),
              ElementsAre("hides: ; cp %p /second/%f"));
  EXPECT_THAT(faults("( pgark --stanza=main archive-push %p ) || echo failed"), ElementsAre("hides: || echo failed"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p || { echo failed; }"),
              ElementsAre("hides: || { echo failed"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %p || (logger failed; exit 0)"),
              ElementsAre("hides: || (logger failed"));
  EXPECT_THAT(faults("/usr/local/bin/archive.sh %p || true"), ElementsAre("hides: || true"));
}

TEST(ArchiveCommand, WithoutThePathIsFound) {
  EXPECT_THAT(faults("pgark --stanza=main archive-push"), ElementsAre("path"));
  EXPECT_THAT(faults("pgark --stanza=main archive-push %f"), ElementsAre("path"));
}

TEST(ArchiveCommand, ThatCopiesWithoutSyncIsFound) {
  EXPECT_THAT(faults("cp %p /archive/%f"), ElementsAre("copy: cp"));
  EXPECT_THAT(faults("test ! -f /archive/%f && /bin/cp -i %p /archive/%f"), ElementsAre("copy: cp"));
  EXPECT_THAT(faults("rsync -a %p backup:/wal/%f"), ElementsAre("copy: rsync"));
  EXPECT_THAT(faults("scp %p backup:/wal/%f || true"), ElementsAre("copy: scp", "hides: || true"));
  EXPECT_THAT(faults("gzip < %p > /archive/%f.gz"), ElementsAre("copy: gzip"));
  EXPECT_THAT(faults("dd if=%p of=/archive/%f"), ElementsAre("copy: dd"));
}

TEST(ArchiveCommand, IsSplitAsTheShellDoes) {
  const auto texts = [](const std::string& command) {
    std::vector<std::string> all;
    for (const ShellPart& part : split_shell(command)) all.push_back(part.joiner + "[" + part.text + "]");
    return all;
  };
  EXPECT_THAT(texts("a 'x && y' && b \"| ; &\" || c; d | e &"),
              ElementsAre("[a 'x && y']", "&&[b \"| ; &\"]", "||[c]", ";[d]", "|[e]", "&[]"));
  EXPECT_THAT(texts("a 2>&1 >&2 <&0 &>f >|g \\; b"), ElementsAre("[a 2>&1 >&2 <&0 &>f >|g \\; b]"));
  EXPECT_THAT(texts("a |& b"), ElementsAre("[a]", "|[b]"));
  EXPECT_THAT(texts("a 'never ended"), ElementsAre("[a 'never ended]"));
  EXPECT_THAT(texts(""), ElementsAre("[]"));
}

}  // namespace
}  // namespace pgark

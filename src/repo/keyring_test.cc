// Keyrings: who can open what, that nobody without the keys can change one, and that nothing secret is said.
#include "repo/keyring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "codec/encoding.h"
#include "codec/kdf.h"
#include "repo/keyring_store.h"
#include "store/fault_store.h"
#include "store/memory_store.h"

namespace pgark {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kPassphrase = "correct horse battery staple";

RepositoryId id_of(uint8_t value) {
  RepositoryId id;
  id.fill(std::byte{value});
  return id;
}

NamedSecret passphrase(std::string text, std::string source = "repo1-cipher-pass") {
  return {std::move(source), Secret::from_text(std::move(text))};
}

NamedSecret identity_file(const AgeIdentity& identity) {
  return {"/etc/identity", format_age_identity_file(identity, "2026-11-22T10:15:00Z")};
}

KeyConfig config_with(std::optional<NamedSecret> pass, std::vector<std::string> recipients = {},
                      const AgeIdentity* identity = nullptr) {
  KeyConfig config{.sealed = true,
                   .repo = "repo1",
                   .passphrase = std::move(pass),
                   .recipients = std::move(recipients),
                   .identities = {}};
  if (identity != nullptr) config.identities.push_back(identity_file(*identity));
  return config;
}

// The document with one thing changed by somebody who can write to the repository and has no key.
Keyring forge(const Keyring& keyring, const std::function<void(json&)>& change) {
  json document = json::parse(keyring.text());
  change(document);
  document.erase("checksum");
  document["checksum"] = base64_encode(sha256(document.dump()));
  auto parsed = Keyring::parse(document.dump(), document["number"].get<unsigned>());
  EXPECT_TRUE(parsed.has_value()) << parsed.error().message();
  return *std::move(parsed);
}

json& entry_of(json& document, const char* kind) {
  for (json& entry : document["entries"])
    if (entry["kind"] == kind) return entry;
  ADD_FAILURE() << "no entry of kind " << kind;
  return document;
}

std::string flipped_base64(const std::string& text) {
  auto bytes = *base64_decode(text);
  bytes[bytes.size() / 2] ^= std::byte{1};
  return base64_encode(bytes);
}

class KeyringTest : public testing::Test {
 protected:
  void SetUp() override {
    alice_ = *generate_age_identity();
    bob_ = *generate_age_identity();
  }

  Keyring make(const KeyConfig& config, uint8_t id = 1) {
    auto keyring = Keyring::create(id_of(id), config);
    EXPECT_TRUE(keyring.has_value()) << keyring.error().to_string();
    return *std::move(keyring);
  }
  /// Opens after a round trip through its text.
  Result<RepositoryKeys> open(const Keyring& keyring, const KeyConfig& config) {
    auto parsed = Keyring::parse(keyring.text(), keyring.number());
    EXPECT_TRUE(parsed.has_value()) << parsed.error().message();
    auto keys = parsed->unlock(config);
    if (!keys) expect_no_secret(keys.error());
    return keys;
  }
  RepositoryKeys must_open(const Keyring& keyring, const KeyConfig& config) {
    auto keys = open(keyring, config);
    EXPECT_TRUE(keys.has_value()) << keys.error().to_string();
    return *std::move(keys);
  }
  void expect_no_secret(const Error& error) {
    const std::string text = error.to_string();
    EXPECT_THAT(text, Not(HasSubstr("horse")));
    for (const AgeIdentity* identity : {&alice_, &bob_})
      EXPECT_THAT(text, Not(HasSubstr(std::string(format_age_identity(*identity).text().substr(16, 16)))));
  }
  std::string alice() const { return to_string(alice_.recipient); }
  std::string bob() const { return to_string(bob_.recipient); }

  AgeIdentity alice_;
  AgeIdentity bob_;
};

TEST_F(KeyringTest, PassphraseAloneOpensEverything) {
  const Keyring keyring = make(config_with(passphrase(kPassphrase)));
  const RepositoryKeys keys = must_open(keyring, config_with(passphrase(kPassphrase)));
  ASSERT_TRUE(keys.data_private.has_value());
  EXPECT_EQ(*x25519_public(keys.data_private->bytes().first<32>()), keys.data_public);
  EXPECT_EQ(keys.metadata_key.size(), 32u);
  EXPECT_EQ(keyring.repository_id(), id_of(1));
  const auto description = keyring.describe(config_with(passphrase(kPassphrase)));
  ASSERT_EQ(description.keys.size(), 1u);
  EXPECT_TRUE(description.keys[0].opens_data);
  EXPECT_THAT(description.warnings(), ElementsAre(HasSubstr("one key alone")));
}

TEST_F(KeyringTest, WithRecipientsThePassphraseDoesNotOpenData) {
  const Keyring keyring = make(config_with(passphrase(kPassphrase), {alice(), bob(), alice()}));
  const RepositoryKeys host = must_open(keyring, config_with(passphrase(kPassphrase), {alice(), bob()}));
  EXPECT_FALSE(host.data_private.has_value());
  for (const AgeIdentity* identity : {&alice_, &bob_}) {
    const RepositoryKeys keys = must_open(keyring, config_with(std::nullopt, {}, identity));
    ASSERT_TRUE(keys.data_private.has_value());
    EXPECT_EQ(to_hex(keys.metadata_key.bytes()), to_hex(host.metadata_key.bytes()));
    EXPECT_EQ(keys.data_public, host.data_public);
    EXPECT_TRUE(must_open(keyring, config_with(passphrase(kPassphrase), {}, identity)).data_private.has_value());
  }
  const auto description = keyring.describe(config_with(passphrase(kPassphrase), {alice(), bob()}));
  EXPECT_THAT(description.warnings(), IsEmpty());
  ASSERT_EQ(description.keys.size(), 3u);
  EXPECT_FALSE(description.keys[0].opens_data);
}

TEST_F(KeyringTest, EveryRepositoryHasOtherKeysAndEveryWrappingAnotherSaltAndNonce) {
  std::set<std::string> seen;
  const auto fresh = [&](const std::string& text) { EXPECT_TRUE(seen.insert(text).second) << text; };
  for (int i = 0; i < 4; ++i) {
    Keyring keyring = make(config_with(passphrase(kPassphrase)));
    const RepositoryKeys keys = must_open(keyring, config_with(passphrase(kPassphrase)));
    fresh(to_hex(keys.metadata_key.bytes()));
    fresh(to_hex(keys.data_private->bytes()));
    for (int rotation = 0; rotation < 3; ++rotation) {
      json document = json::parse(keyring.text());
      fresh(entry_of(document, "scrypt")["salt"]);
      fresh(entry_of(document, "scrypt")["nonce"]);
      fresh(entry_of(document, "scrypt")["sealed"]);
      keyring = *keyring.with_passphrase(keys, passphrase(kPassphrase));
    }
  }
}

TEST_F(KeyringTest, WrongKeysAreNamed) {
  const Keyring keyring = make(config_with(passphrase(kPassphrase), {alice()}));
  const auto wrong = open(keyring, config_with(passphrase("wrong horse", "repo2-cipher-pass-file")));
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code(), Errc::kPermission);
  EXPECT_EQ(wrong.error().message(), "the passphrase of repo2-cipher-pass-file is wrong");

  const auto stranger = open(keyring, config_with(std::nullopt, {}, &bob_));
  ASSERT_FALSE(stranger.has_value());
  EXPECT_EQ(stranger.error().code(), Errc::kPermission);
  EXPECT_THAT(stranger.error().to_string(),
              AllOf(HasSubstr("repo1-identity-file"), HasSubstr(alice()), HasSubstr(bob())));
  // A right passphrase does not make up for a wrong identity, nor the other way round.
  EXPECT_EQ(open(keyring, config_with(passphrase(kPassphrase), {}, &bob_)).error().code(), Errc::kPermission);
  EXPECT_EQ(open(keyring, config_with(passphrase("wrong horse"), {}, &alice_)).error().code(), Errc::kPermission);

  const auto none = open(keyring, config_with(std::nullopt));
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code(), Errc::kInvalid);
  EXPECT_THAT(none.error().to_string(), AllOf(HasSubstr("no key is configured"), HasSubstr("repo1-cipher-pass")));

  KeyConfig broken = config_with(std::nullopt);
  broken.identities.push_back(
      {"/etc/broken of repo1-identity-file", Secret::copy_of(as_bytes("AGE-SECRET-KEY-1HORSE\n"))});
  const auto unreadable = open(keyring, broken);
  ASSERT_FALSE(unreadable.has_value());
  EXPECT_THAT(unreadable.error().message(),
              AllOf(HasSubstr("/etc/broken of repo1-identity-file"), HasSubstr("line 1")));
}

TEST_F(KeyringTest, EachConfiguredKeyIsTriedByItself) {
  const Keyring keyring = make(config_with(passphrase(kPassphrase), {alice()}));
  KeyConfig config = config_with(passphrase("wrong"), {}, &alice_);
  config.identities.push_back(identity_file(bob_));
  const auto trials = keyring.try_each(config);
  ASSERT_EQ(trials.size(), 3u);
  EXPECT_EQ(trials[0].source, "repo1-cipher-pass");
  EXPECT_TRUE(trials[0].error.has_value());
  EXPECT_FALSE(trials[1].error.has_value());
  EXPECT_TRUE(trials[1].opens_data);
  EXPECT_TRUE(trials[2].error.has_value());
}

TEST_F(KeyringTest, CreationRefusesWhatCouldNotBeOpenedAgain) {
  EXPECT_EQ(Keyring::create(id_of(1), config_with(std::nullopt)).error().code(), Errc::kInvalid);
  EXPECT_EQ(Keyring::create(id_of(1), config_with(passphrase(""))).error().code(), Errc::kInvalid);
  const auto recipients_only = Keyring::create(id_of(1), config_with(std::nullopt, {alice()}));
  ASSERT_FALSE(recipients_only.has_value());
  EXPECT_THAT(recipients_only.error().to_string(), HasSubstr("repo1-cipher-pass"));
  EXPECT_FALSE(Keyring::create(id_of(1), config_with(std::nullopt, {alice()}, &bob_)).has_value());
  EXPECT_FALSE(Keyring::create(id_of(1), config_with(passphrase(kPassphrase), {"age1nonsense"})).has_value());

  const Keyring keyring = make(config_with(std::nullopt, {alice()}, &alice_));
  EXPECT_TRUE(must_open(keyring, config_with(std::nullopt, {}, &alice_)).data_private.has_value());
  const auto refused = open(keyring, config_with(passphrase(kPassphrase), {}, &alice_));
  ASSERT_FALSE(refused.has_value()) << "a passphrase that protects nothing";
  EXPECT_EQ(refused.error().code(), Errc::kPermission);
}

TEST_F(KeyringTest, RecipientsThatOnlyTheConfigurationKnowsAreNotBelieved) {
  const Keyring keyring = make(config_with(passphrase(kPassphrase)));
  const auto refused = open(keyring, config_with(passphrase(kPassphrase), {alice()}));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("add-recipient"));

  const Keyring sealed = make(config_with(passphrase(kPassphrase), {alice()}));
  EXPECT_THAT(sealed.describe(config_with(passphrase(kPassphrase), {bob()})).warnings(),
              ElementsAre(HasSubstr("one key alone"), AllOf(HasSubstr(bob()), HasSubstr("cannot read")),
                          AllOf(HasSubstr(alice()), HasSubstr("is not in repo1-recipient"))));
}

TEST_F(KeyringTest, EveryChangedFieldIsFound) {
  const Keyring keyring = make(config_with(passphrase(kPassphrase), {alice()}));
  const Keyring other = make(config_with(passphrase(kPassphrase), {alice()}));
  const Keyring other_id = make(config_with(passphrase(kPassphrase), {alice()}), 2);
  const auto entry_from = [](const Keyring& from, const char* kind) {
    json document = json::parse(from.text());
    return json(entry_of(document, kind));
  };
  struct Case {
    const char* name;
    std::function<void(json&)> change;
  };
  const Case cases[] = {
      {"repository", [](json& d) { d["repository"] = to_hex(id_of(2)); }},
      {"number", [](json& d) { d["number"] = 2; }},
      {"data_public", [&](json& d) { d["data_public"] = json::parse(other.text())["data_public"]; }},
      {"mac", [](json& d) { d["mac"] = flipped_base64(d["mac"]); }},
      {"added member", [](json& d) { d["comment"] = "x"; }},
      {"scrypt salt",
       [](json& d) {
         json& e = entry_of(d, "scrypt");
         e["salt"] = flipped_base64(e["salt"]);
       }},
      {"scrypt nonce",
       [](json& d) {
         json& e = entry_of(d, "scrypt");
         e["nonce"] = flipped_base64(e["nonce"]);
       }},
      {"scrypt sealed",
       [](json& d) {
         json& e = entry_of(d, "scrypt");
         e["sealed"] = flipped_base64(e["sealed"]);
       }},
      {"scrypt log_n", [](json& d) { entry_of(d, "scrypt")["log_n"] = 10; }},
      {"scrypt r", [](json& d) { entry_of(d, "scrypt")["r"] = 4; }},
      {"scrypt p", [](json& d) { entry_of(d, "scrypt")["p"] = 2; }},
      {"age sealed",
       [](json& d) {
         json& e = entry_of(d, "age");
         e["sealed"] = flipped_base64(e["sealed"]);
       }},
      {"age recipient", [&](json& d) { entry_of(d, "age")["recipient"] = bob(); }},
      {"scrypt of another repository", [&](json& d) { entry_of(d, "scrypt") = entry_from(other, "scrypt"); }},
      {"age of another repository", [&](json& d) { entry_of(d, "age") = entry_from(other, "age"); }},
      {"scrypt of another id", [&](json& d) { entry_of(d, "scrypt") = entry_from(other_id, "scrypt"); }},
      {"age of another id", [&](json& d) { entry_of(d, "age") = entry_from(other_id, "age"); }},
      {"dropped scrypt", [](json& d) { d["entries"].erase(0); }},
      {"order", [](json& d) { std::swap(d["entries"][0], d["entries"][1]); }},
  };
  for (const Case& one : cases) {
    const Keyring forged = forge(keyring, one.change);
    // Whoever has both keys, or the one of the entry that was touched, must notice.
    EXPECT_FALSE(open(forged, config_with(passphrase(kPassphrase), {}, &alice_)).has_value()) << one.name;
    EXPECT_FALSE(open(forged, config_with(passphrase(kPassphrase))).has_value()) << one.name;
    EXPECT_FALSE(open(forged, config_with(std::nullopt, {}, &alice_)).has_value()) << one.name;
  }
  const auto forged = open(forge(keyring, cases[2].change), config_with(passphrase(kPassphrase)));
  EXPECT_THAT(forged.error().message(), HasSubstr("is wrong")) << "the key is bound to its public key";
  const auto renamed = open(forge(keyring, cases[4].change), config_with(passphrase(kPassphrase)));
  EXPECT_THAT(renamed.error().message(), HasSubstr("somebody who does not have the keys"));
}

TEST_F(KeyringTest, AKeyringOfSomebodyElseIsRefusedWhereThePassphraseIsKnown) {
  // Anybody can encrypt to Alice; only the passphrase tells that it was not the owner.
  const Keyring planted = make(config_with(passphrase("of the attacker"), {alice()}));
  EXPECT_EQ(open(planted, config_with(passphrase(kPassphrase), {}, &alice_)).error().code(), Errc::kPermission);
  json document = json::parse(make(config_with(std::nullopt, {alice()}, &alice_)).text());
  const auto without_passphrase = Keyring::parse(document.dump(), 1);
  ASSERT_TRUE(without_passphrase.has_value());
  EXPECT_EQ(open(*without_passphrase, config_with(passphrase(kPassphrase), {}, &alice_)).error().code(),
            Errc::kPermission);
}

TEST_F(KeyringTest, DamageIsToldFromAWrongKey) {
  const std::string text = make(config_with(passphrase(kPassphrase), {alice()})).text();
  for (size_t at = 0; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    const auto parsed = Keyring::parse(damaged, 1);
    // White space between the members may change to other white space; nothing else.
    if (parsed.has_value()) {
      EXPECT_EQ(parsed->text(), text) << at;
      continue;
    }
    EXPECT_THAT(parsed.error().code(), testing::AnyOf(Errc::kCorrupt, Errc::kUnsupported)) << at;
    EXPECT_THAT(parsed.error().message(), HasSubstr("keyring.1"));
  }
  for (size_t size = 0; size + 2 < text.size(); ++size)
    ASSERT_FALSE(Keyring::parse(text.substr(0, size), 1).has_value());
  EXPECT_FALSE(Keyring::parse(text, 2).has_value()) << "replayed under a later number";
  const std::string deep = "{\"x\":" + std::string(300'000, '[') + std::string(300'000, ']') + "}";
  EXPECT_EQ(Keyring::parse(deep, 1).error().code(), Errc::kCorrupt);
}

TEST_F(KeyringTest, AbsurdCostsAreRefusedBeforeTheyAreTried) {
  json document = json::parse(make(config_with(passphrase(kPassphrase))).text());
  entry_of(document, "scrypt")["log_n"] = 30;
  document.erase("checksum");
  document["checksum"] = base64_encode(sha256(document.dump()));
  const auto parsed = Keyring::parse(document.dump(), 1);
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().code(), Errc::kCorrupt);
  EXPECT_THAT(parsed.error().message(), HasSubstr("log_n=30"));
}

TEST_F(KeyringTest, RotationKeepsTheInnerKeysAndForgetsThePassphrase) {
  const Keyring first = make(config_with(passphrase(kPassphrase), {alice()}));
  const RepositoryKeys keys = must_open(first, config_with(passphrase(kPassphrase)));
  const auto second = first.with_passphrase(keys, passphrase("a new one"));
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->number(), 2u);
  const RepositoryKeys after = must_open(*second, config_with(passphrase("a new one")));
  EXPECT_EQ(to_hex(after.metadata_key.bytes()), to_hex(keys.metadata_key.bytes()));
  EXPECT_EQ(after.data_public, keys.data_public);
  EXPECT_FALSE(after.data_private.has_value());
  EXPECT_TRUE(must_open(*second, config_with(std::nullopt, {}, &alice_)).data_private.has_value());
  EXPECT_EQ(open(*second, config_with(passphrase(kPassphrase))).error().code(), Errc::kPermission);
  EXPECT_EQ(first.with_passphrase(keys, passphrase("")).error().code(), Errc::kInvalid);
}

TEST_F(KeyringTest, RecipientsComeAndGo) {
  Keyring keyring = make(config_with(passphrase(kPassphrase)));
  const RepositoryKeys all = must_open(keyring, config_with(passphrase(kPassphrase)));
  const std::optional<NamedSecret> pass = passphrase(kPassphrase);

  EXPECT_EQ(keyring.with_recipient(all, alice_.recipient, std::nullopt).error().code(), Errc::kInvalid);
  EXPECT_EQ(keyring.with_recipient(all, alice_.recipient, passphrase("typing error")).error().code(),
            Errc::kPermission);
  keyring = *keyring.with_recipient(all, alice_.recipient, pass);
  const RepositoryKeys host = must_open(keyring, config_with(passphrase(kPassphrase)));
  EXPECT_FALSE(host.data_private.has_value()) << "the first recipient takes the data away from the passphrase";
  EXPECT_EQ(keyring.with_recipient(all, alice_.recipient, pass).error().code(), Errc::kAlreadyExists);
  EXPECT_EQ(keyring.with_recipient(host, bob_.recipient, pass).error().code(), Errc::kPermission);

  const RepositoryKeys restored = must_open(keyring, config_with(std::nullopt, {}, &alice_));
  keyring = *keyring.with_recipient(restored, bob_.recipient, std::nullopt);
  EXPECT_TRUE(must_open(keyring, config_with(std::nullopt, {}, &bob_)).data_private.has_value());

  keyring = *keyring.without_recipient(host, alice_.recipient, std::nullopt);
  EXPECT_EQ(open(keyring, config_with(std::nullopt, {}, &alice_)).error().code(), Errc::kPermission);
  const auto unknown = keyring.without_recipient(host, alice_.recipient, std::nullopt);
  EXPECT_EQ(unknown.error().code(), Errc::kNotFound);
  EXPECT_THAT(unknown.error().to_string(), HasSubstr(bob()));

  EXPECT_EQ(keyring.without_recipient(restored, bob_.recipient, std::nullopt).error().code(), Errc::kInvalid);
  EXPECT_EQ(keyring.without_recipient(host, bob_.recipient, pass).error().code(), Errc::kPermission);
  EXPECT_EQ(keyring.without_recipient(restored, bob_.recipient, passphrase("typing error")).error().code(),
            Errc::kPermission);
  keyring = *keyring.without_recipient(restored, bob_.recipient, pass);
  EXPECT_TRUE(must_open(keyring, config_with(passphrase(kPassphrase))).data_private.has_value());
  EXPECT_EQ(keyring.number(), 5u);
}

TEST_F(KeyringTest, NothingSecretIsInTheDocument) {
  const Keyring keyring = make(config_with(passphrase(kPassphrase), {alice()}, &alice_));
  const RepositoryKeys keys = must_open(keyring, config_with(passphrase(kPassphrase), {}, &alice_));
  for (const Bytes secret : {keys.metadata_key.bytes(), keys.data_private->bytes(), as_bytes(kPassphrase)}) {
    EXPECT_THAT(keyring.text(), Not(HasSubstr(to_hex(secret))));
    EXPECT_THAT(keyring.text(), Not(HasSubstr(base64_encode(secret).substr(0, 20))));
    EXPECT_THAT(keyring.text(), Not(HasSubstr(std::string(as_text(secret)))));
  }
}

// ---- as objects -----------------------------------------------------------------------------------------------------

TEST_F(KeyringTest, OfTwoMakersOneWinsAndBothGoOnWithItsId) {
  MemoryStore store;
  const KeyConfig config = config_with(passphrase(kPassphrase));
  const auto first = create_keyring(store, id_of(1), config);
  const auto second = create_keyring(store, id_of(2), config);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(second->repository_id(), id_of(1));
  EXPECT_EQ(first->text(), second->text());
  EXPECT_TRUE(open_keyring(store, id_of(1), config).has_value());
  const auto other = open_keyring(store, id_of(2), config);
  ASSERT_FALSE(other.has_value());
  EXPECT_THAT(other.error().message(),
              AllOf(HasSubstr("open repository repo1 in memory"), HasSubstr("another repository")));
}

TEST_F(KeyringTest, ErrorsOfOpeningNameTheRepositoryAndTheKey) {
  MemoryStore store;
  const auto gone = open_keyring(store, id_of(1), config_with(passphrase(kPassphrase)));
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code(), Errc::kCorrupt);
  ASSERT_TRUE(create_keyring(store, id_of(1), config_with(passphrase(kPassphrase))).has_value());
  const auto wrong = open_keyring(store, id_of(1), config_with(passphrase("wrong horse")));
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().message(), "open repository repo1 in memory: the passphrase of repo1-cipher-pass is wrong");
  expect_no_secret(wrong.error());
}

TEST_F(KeyringTest, TheHighestNumberCountsAndOlderOnesGo) {
  MemoryStore store;
  const KeyConfig config = config_with(passphrase(kPassphrase));
  Keyring keyring = *create_keyring(store, id_of(1), config);
  const RepositoryKeys keys = must_open(keyring, config);
  for (int i = 2; i <= 11; ++i) {  // 10 and 11 sort before 2.
    keyring = *keyring.with_passphrase(keys, passphrase(kPassphrase));
    const auto warnings = replace_keyring(store, keyring);
    ASSERT_TRUE(warnings.has_value()) << warnings.error().message();
    EXPECT_THAT(*warnings, IsEmpty());
    EXPECT_EQ(store.list_all("keyring.")->size(), 1u);
    EXPECT_EQ(read_keyring(store, id_of(1))->number(), static_cast<unsigned>(i));
  }
}

TEST_F(KeyringTest, OfTwoChangesAtOnceOneIsTurnedAway) {
  MemoryStore store;
  const KeyConfig config = config_with(passphrase(kPassphrase));
  const Keyring keyring = *create_keyring(store, id_of(1), config);
  const RepositoryKeys keys = must_open(keyring, config);
  const Keyring one = *keyring.with_passphrase(keys, passphrase("one"));
  const Keyring two = *keyring.with_passphrase(keys, passphrase("two"));
  EXPECT_TRUE(replace_keyring(store, one).has_value());
  EXPECT_TRUE(replace_keyring(store, one).has_value()) << "the same again is success";
  EXPECT_EQ(replace_keyring(store, two).error().code(), Errc::kAlreadyExists);
  EXPECT_TRUE(open_keyring(store, id_of(1), config_with(passphrase("one"))).has_value());
}

TEST_F(KeyringTest, AnOldKeyringThatStaysIsReported) {
  FaultStore store(std::make_unique<MemoryStore>());
  const KeyConfig config = config_with(passphrase(kPassphrase));
  const Keyring keyring = *create_keyring(store, id_of(1), config);
  const RepositoryKeys keys = must_open(keyring, config);
  store.set_rules({{.call = StoreCall::kRemove, .fault = Fault::kFail, .code = Errc::kPermission}});
  const auto warnings = replace_keyring(store, *keyring.with_passphrase(keys, passphrase("new")));
  ASSERT_TRUE(warnings.has_value()) << warnings.error().message();
  EXPECT_THAT(*warnings, ElementsAre(AllOf(HasSubstr("keyring.1"), HasSubstr("still open"))));
  EXPECT_THAT(store.unfired(), IsEmpty());
  EXPECT_TRUE(open_keyring(store, id_of(1), config_with(passphrase("new"))).has_value());
}

TEST_F(KeyringTest, ALostAnswerToTheWriteIsLookedAfter) {
  FaultStore store(std::make_unique<MemoryStore>());
  const KeyConfig config = config_with(passphrase(kPassphrase));
  const Keyring keyring = *create_keyring(store, id_of(1), config);
  const RepositoryKeys keys = must_open(keyring, config);
  const Keyring next = *keyring.with_passphrase(keys, passphrase("new"));
  store.set_rules({{.call = StoreCall::kCommit, .fault = Fault::kFail, .code = Errc::kOutcomeUnknown}});
  EXPECT_FALSE(replace_keyring(store, next).has_value());
  EXPECT_THAT(store.unfired(), IsEmpty());
  EXPECT_TRUE(open_keyring(store, id_of(1), config).has_value()) << "the old one stays until the new one is there";
  store.set_rules({{.call = StoreCall::kCommit, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown}});
  EXPECT_TRUE(replace_keyring(store, next).has_value());
  EXPECT_THAT(store.unfired(), IsEmpty());
  EXPECT_TRUE(open_keyring(store, id_of(1), config_with(passphrase("new"))).has_value());
}

TEST_F(KeyringTest, AKeyringReplacedWhileItIsLookedForIsFound) {
  auto memory = std::make_unique<MemoryStore>();
  MemoryStore& inner = *memory;
  FaultStore store(std::move(memory));
  const KeyConfig config = config_with(passphrase(kPassphrase));
  const Keyring keyring = *create_keyring(store, id_of(1), config);
  const RepositoryKeys keys = must_open(keyring, config);
  ASSERT_TRUE(replace_keyring(inner, *keyring.with_passphrase(keys, passphrase("new"))).has_value());
  // As a reader sees it that listed before, and reads after.
  store.set_rules({{.call = StoreCall::kRead, .fault = Fault::kFail, .code = Errc::kNotFound}});
  EXPECT_TRUE(open_keyring(store, id_of(1), config_with(passphrase("new"))).has_value());
  EXPECT_THAT(store.unfired(), IsEmpty());
}

}  // namespace
}  // namespace pgark

#include "proxy/domain/pool_sql.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trunkline::proxy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

bool is_refused(std::string_view text) { return look_at(text).refusal.sqlstate == "0A000"; }

TEST(PoolSql, what_needs_a_session_of_its_own_is_refused_and_named) {
  for (const char* text :
       {"LISTEN news", " \n listen news;", "-- why\nListen news", "/* a /* b */ */LISTEN news",
        "select 1; listen news", "select ';' ; LISTEN news", "select $a$;$a$; listen x",
        "select E'it\\'s;' ; listen x", "PREPARE p AS SELECT 1", "begin; prepare p as select 1",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "declare c scroll cursor with  hold for select 1",
        "select pg_advisory_lock(1)", "SELECT PG_TRY_ADVISORY_LOCK(1, 2)",
        "select pg_catalog.pg_advisory_lock_shared(5)"}) {
    EXPECT_TRUE(is_refused(text)) << text;
  }
  EXPECT_THAT(look_at("LISTEN news").refusal.text, HasSubstr("LISTEN is not available"));
  EXPECT_THAT(look_at("PREPARE p AS SELECT 1").refusal.text, HasSubstr("PREPARE"));
}

TEST(PoolSql, what_only_looks_like_it_is_not) {
  for (const char* text :
       {"", ";", "select 1", "NOTIFY news, 'x'", "UNLISTEN *", "select 'a; listen b'",
        "select 1 -- ; listen x", "select $$; listen x$$", "select \"a;listen\" from t",
        "PREPARE TRANSACTION 'x'", "EXECUTE p", "DECLARE c CURSOR FOR SELECT 1",
        "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 'with hold'",
        "declare c cursor for select 1; select 2 as hold",
        "select pg_advisory_xact_lock(1)", "select pg_advisory_unlock_all()",
        "insert into t values ('pg_advisory_lock(1)')", "select listen from t; select prepare",
        "SET search_path = a", "select $1; select $2"}) {
    EXPECT_FALSE(is_refused(text)) << text;
  }
}

TEST(PoolSql, forgotten_statements_are_named_and_their_texts_made_good_for_any_server) {
  const PoolSql one = look_at("DEALLOCATE _pg3_0");
  EXPECT_THAT(one.forgets, ElementsAre("_pg3_0"));
  EXPECT_EQ(one.instead, "DEALLOCATE ALL");
  EXPECT_FALSE(one.forgets_all);
  const PoolSql many = look_at("deallocate prepare \"Da\"\"ta\" ; select 1;DEALLOCATE B; select 2");
  EXPECT_THAT(many.forgets, ElementsAre("Da\"ta", "b"));
  EXPECT_EQ(many.instead, "deallocate prepare ALL ; select 1;DEALLOCATE ALL; select 2");
  for (const char* text : {"DEALLOCATE ALL", "deallocate prepare all;", "DISCARD ALL"}) {
    const PoolSql all = look_at(text);
    EXPECT_TRUE(all.forgets_all) << text;
    EXPECT_THAT(all.instead, IsEmpty()) << text;
  }
  EXPECT_FALSE(look_at("DISCARD PLANS").forgets_all);
}

TEST(PoolSql, a_text_that_ends_anywhere_is_read_to_its_end) {
  const std::string_view text =
      "select E'\\'' ; /* /* */ */ declare \"a\"\"b\" cursor with hold for select $x$ $x$; "
      "deallocate prepare c; -- x";
  for (size_t size = 0; size <= text.size(); ++size) look_at(text.substr(0, size));
  for (size_t from = 0; from <= text.size(); ++from) look_at(text.substr(from));
}

}  // namespace
}  // namespace trunkline::proxy

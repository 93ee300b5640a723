/* The words are those of PostgreSQL's own translations, of versions 12 to 15, which hardly change. Of other languages "Anweisung: SELECT 1" and
 * "durée : 0.481 ms" are told by what follows the words. */
#define _GNU_SOURCE
#include "replay/log_language.h"

#include "base/clock.h"

#include <string.h>
#include <strings.h>

#define WORDS_MAX 80 /* bytes before the SQL or the number; names of statements are among them */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "0.481 ms" at p. 0: it is none; else what is behind it. */
static size_t read_duration(const char *p, size_t n, int64_t *duration_ns)
{
	static const char *const UNITS[] = {"ms", "мс", "ミリ秒", "მწმ"};
	int64_t us = 0;
	size_t i = 0;
	for (; i < n && i < 15 && is_digit(p[i]); i++)
		us = us * 10 + (p[i] - '0');
	if (i == 0 || n < i + 5 || p[i] != '.' || p[i + 4] != ' ')
		return 0;
	for (size_t k = i + 1; k < i + 4; k++) {
		if (!is_digit(p[k]))
			return 0;
		us = us * 10 + (p[k] - '0');
	}
	i += 5;
	struct log_text unit = {(char *)(uintptr_t)p + i, n - i};
	for (size_t k = 0; k < sizeof UNITS / sizeof UNITS[0]; k++) {
		if (log_text_begins(&unit, UNITS[k])) {
			*duration_ns = us * NS_PER_US;
			return i + strlen(UNITS[k]);
		}
	}
	return 0;
}

/* ---- languages that are understood ---- */

/* NULL: it has no other word than in English, or than the first. */
struct language {
	const char *statement, *statement_timed; /* before SQL; and behind a duration */
	const char *execute, *fetch;             /* before the name of a statement */
	const char *steps[2];                    /* parse, bind: at the begin of what is before the colon, or at its end */
	const char *duration[2];
	const char *received, *authorized, *disconnected;
};

static const struct language LANGUAGES[] = {
	/* German */
	{"Anweisung: ", NULL, "Ausführen", "Ausführen Fetch von", {"Parsen", "Binden"}, {"Dauer: ", NULL},
		"Verbindung empfangen: ", "Verbindung autorisiert: ", "Verbindungsende: "},
	/* Spanish */
	{"sentencia: ", NULL, "ejecutar", "ejecutar fetch desde", {"parse", "bind"}, {"duración: ", NULL},
		"conexión recibida: ", "conexión autorizada: ", "desconexión: "},
	/* French */
	{"instruction : ", NULL, "exécute", "exécute fetch à partir de", {"analyse", "lien"}, {"durée : ", NULL},
		"connexion reçue : ", "connexion autorisée : ", "déconnexion : "},
	/* Italian */
	{"istruzione: ", NULL, "esecuzione di", "esecuzione di fetch da", {"analisi di", "bind"}, {"durata: ", NULL},
		"connessione ricevuta: ", "connessione autorizzata: ", "disconnessione: "},
	/* Japanese */
	{"文: ", NULL, "実行", "取り出し実行", {"パース", "バインド"}, {"期間: ", NULL},
		"接続を受け付けました: ", "接続の認証完了: ", "接続を切断: "},
	/* Georgian */
	{"ოპერატორი: ", "გამოსახულება: ", "გაშვება", "execute fetch from", {"-ის დამუშავება", "მიბმა"}, {"ხანგრძლივობა: ", NULL},
		"შემოსული დაკავშირება: ", "შეერთება ავტორიზებულია: ", NULL},
	/* Korean */
	{"명령 구문: ", NULL, "쿼리실행", "자료뽑기", {"구문분석", "접속"}, {"실행시간: ", "수행시간: "},
		"접속 수락: ", "연결 인증: ", "연결종료: "},
	/* Russian */
	{"оператор: ", NULL, "выполнение", "выборка из", {"разбор", "сообщение Bind"}, {"продолжительность: ", NULL},
		"принято подключение: ", "подключение авторизовано: ", "отключение: "},
	/* Swedish */
	{"sats: ", NULL, "kör", "kör hämtning från", {"parse", "bind"}, {"varaktighet: ", "varaktighet "},
		"ansluting mottagen: ", "anslutning auktoriserad: ", "nedkoppling: "},
	/* Ukrainian */
	{"оператор: ", NULL, "виконувати", "виконати витягнення з", {"аналізування", "повідомлення bind"}, {"тривалість: ", NULL},
		"з'єднання отримано: ", "підключення авторизовано: ", "відключення: "},
	/* Chinese */
	{"语句: ", NULL, "执行", "执行FETCH操作", {"解析", "绑定"}, {"执行时间: ", NULL}, "已接收到连接: ", NULL, "断开连接: "},
};

const char *log_language_english(const struct log_text *word)
{
	static const char *const WORDS[][2] = {{"LOG", "ჟურნალი"}, {"LOG", "로그"}, {"LOG", "СООБЩЕНИЕ"}, {"LOG", "LOGG"},
		{"LOG", "ЗАПИСУВАННЯ"}, {"LOG", "日志"}, {"ERROR", "FEHLER"}, {"ERROR", "ERREUR"}, {"ERROR", "ERRORE"},
		{"ERROR", "შეცდომა"}, {"ERROR", "오류"}, {"ERROR", "ОШИБКА"}, {"ERROR", "FEL"}, {"ERROR", "ПОМИЛКА"}, {"ERROR", "错误"},
		{"FATAL", "FATALE"}, {"FATAL", "ფატალური"}, {"FATAL", "치명적오류"}, {"FATAL", "ВАЖНО"}, {"FATAL", "FATALT"},
		{"FATAL", "ФАТАЛЬНО"}, {"FATAL", "致命错误"}, {"WARNING", "WARNUNG"}, {"WARNING", "ATTENTION"}, {"WARNING", "ATTENZIONE"},
		{"WARNING", "გაფრთხილება"}, {"WARNING", "경고"}, {"WARNING", "ПРЕДУПРЕЖДЕНИЕ"}, {"WARNING", "VARNING"},
		{"WARNING", "ПОПЕРЕДЖЕННЯ"}, {"WARNING", "警告"}, {"NOTICE", "HINWEIS"}, {"NOTICE", "NOTIFICA"}, {"NOTICE", "알림"},
		{"NOTICE", "ЗАМЕЧАНИЕ"}, {"NOTICE", "NOTIS"}, {"NOTICE", "ПОВІДОМЛЕННЯ"}, {"NOTICE", "注意"}, {"DETAIL", "DETALLE"},
		{"DETAIL", "DÉTAIL"}, {"DETAIL", "DETTAGLI"}, {"DETAIL", "詳細"}, {"DETAIL", "დეტალები"}, {"DETAIL", "상세정보"},
		{"DETAIL", "ПОДРОБНОСТИ"}, {"DETAIL", "DETALJ"}, {"DETAIL", "ВІДОМОСТІ"}, {"DETAIL", "详细信息"},
		{"STATEMENT", "ANWEISUNG"}, {"STATEMENT", "SENTENCIA"}, {"STATEMENT", "INSTRUCTION"}, {"STATEMENT", "ISTRUZIONE"},
		{"STATEMENT", "文"}, {"STATEMENT", "ოპერატორი"}, {"STATEMENT", "명령 구문"}, {"STATEMENT", "ОПЕРАТОР"},
		{"STATEMENT", "SATS"}, {"STATEMENT", "ІНСТРУКЦІЯ"}, {"STATEMENT", "语句"}, {"CONTEXT", "ZUSAMMENHANG"},
		{"CONTEXT", "CONTEXTO"}, {"CONTEXT", "CONTEXTE"}, {"CONTEXT", "CONTESTO"}, {"CONTEXT", "文脈"}, {"CONTEXT", "კონტექსტი"},
		{"CONTEXT", "내용"}, {"CONTEXT", "КОНТЕКСТ"}, {"CONTEXT", "KONTEXT"}, {"CONTEXT", "上下文"}, {"HINT", "TIPP"},
		{"HINT", "ASTUCE"}, {"HINT", "SUGGERIMENTO"}, {"HINT", "ヒント"}, {"HINT", "მინიშნება"}, {"HINT", "힌트"},
		{"HINT", "ПОДСКАЗКА"}, {"HINT", "TIPS"}, {"HINT", "УКАЗІВКА"}, {"HINT", "提示"}, {"QUERY", "ANFRAGE"},
		{"QUERY", "CONSULTA"}, {"QUERY", "REQUÊTE"}, {"QUERY", "問い合わせ"}, {"QUERY", "მოთხოვნა"}, {"QUERY", "ЗАПРОС"},
		{"QUERY", "FRÅGA"}, {"QUERY", "ЗАПИТ"}, {"QUERY", "查询"}, {"LOCATION", "ORT"}, {"LOCATION", "UBICACIÓN"},
		{"LOCATION", "EMPLACEMENT"}, {"LOCATION", "POSIZIONE"}, {"LOCATION", "場所"}, {"LOCATION", "PLATS"},
		{"LOCATION", "РОЗТАШУВАННЯ"}, {"LOCATION", "位置"}};
	for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
		if (log_text_is(word, WORDS[i][1]))
			return WORDS[i][0];
	return NULL;
}

static bool take(struct log_text *t, const char *words)
{
	if (words == NULL || !log_text_begins(t, words))
		return false;
	t->at += strlen(words);
	t->n -= strlen(words);
	return true;
}

static bool ends(const char *at, size_t n, const char *words)
{
	size_t words_n = strlen(words);
	return n >= words_n && memcmp(at + n - words_n, words, words_n) == 0;
}

/* Chinese has no blank before the name, behind a duration. */
static bool take_before_name(struct log_text *t, const char *words, bool timed)
{
	struct log_text behind = *t;
	if (!take(&behind, words) || !(take(&behind, " ") || timed) || memmem(behind.at, behind.n, ": ", 2) == NULL)
		return false;
	*t = behind;
	return true;
}

static enum log_told read_words(const struct language *l, struct log_text *t, bool timed)
{
	if (take(t, l->statement) || (timed && take(t, l->statement_timed)))
		return LOG_TOLD_STATEMENT;
	if (take_before_name(t, l->fetch, timed))
		return LOG_TOLD_FETCH;
	if (take_before_name(t, l->execute, timed))
		return LOG_TOLD_EXECUTE;
	const char *colon = timed ? memmem(t->at, t->n, ": ", 2) : NULL;
	size_t n = colon != NULL ? (size_t)(colon - t->at) : 0;
	for (int i = 0; i < 2 && n > 0; i++)
		if (log_text_begins(t, l->steps[i]) || ends(t->at, n, l->steps[i]))
			return LOG_TOLD_STEP;
	return LOG_TOLD_NOTHING;
}

static enum log_told read_connection(const struct language *l, const struct log_text *m)
{
	if (l->received != NULL && log_text_begins(m, l->received))
		return LOG_TOLD_RECEIVED;
	if (l->authorized != NULL && log_text_begins(m, l->authorized))
		return LOG_TOLD_AUTHORIZED;
	return l->disconnected != NULL && log_text_begins(m, l->disconnected) ? LOG_TOLD_DISCONNECTED : LOG_TOLD_NOTHING;
}

enum log_told log_language_read(const struct log_text *message, int64_t *duration_ns, struct log_text *rest)
{
	enum log_told told = LOG_TOLD_NOTHING;
	for (size_t i = 0; i < sizeof LANGUAGES / sizeof LANGUAGES[0] && told == LOG_TOLD_NOTHING; i++) {
		const struct language *l = &LANGUAGES[i];
		*rest = *message;
		*duration_ns = -1;
		if (!take(rest, l->duration[0]) && !take(rest, l->duration[1])) {
			told = read_words(l, rest, false);
			told = told != LOG_TOLD_NOTHING ? told : read_connection(l, message);
			continue;
		}
		size_t n = read_duration(rest->at, rest->n, duration_ns);
		rest->at += n;
		rest->n -= n;
		(void)(take(rest, ",") || take(rest, "s")); /* "0.1 мс, ..."; a slip of the Georgian one */
		while (take(rest, " "))
			;
		if (n > 0)
			told = rest->n == 0 ? LOG_TOLD_DURATION : read_words(l, rest, true);
	}
	return told;
}

/* ---- other languages ---- */

static bool begins_statement(const char *p, size_t n)
{
	static const char *const WORDS[] = {"select", "insert", "update", "delete", "merge", "with", "begin", "start", "commit", "end",
		"rollback", "abort", "savepoint", "release", "set", "reset", "show", "truncate", "create", "alter", "drop", "copy", "fetch",
		"declare", "close", "move", "lock", "explain", "analyze", "vacuum", "call", "do", "prepare", "execute", "deallocate",
		"discard", "listen", "notify", "unlisten", "values", "table", "refresh", "reindex", "cluster", "checkpoint", "comment",
		"grant", "revoke"};
	while (n > 0 && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '(')) {
		p++;
		n--;
	}
	for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
		size_t word_n = strlen(WORDS[i]);
		if (n >= word_n && strncasecmp(p, WORDS[i], word_n) == 0 && (n == word_n || strchr(" \n\t;(", p[word_n]) != NULL))
			return true;
	}
	return false;
}

bool log_language_tells(const struct log_text *message, int64_t *duration_ns)
{
	const char *at = message->at;
	size_t n = message->n, words = n < WORDS_MAX ? n : WORDS_MAX;
	*duration_ns = -1;
	for (size_t i = 1; i < words; i++) {
		if (is_digit(at[i]) && at[i - 1] == ' ' && read_duration(at + i, n - i, duration_ns) > 0)
			return true;
		if (at[i] == ' ' && at[i - 1] == ':' && begins_statement(at + i + 1, n - i - 1))
			return true;
	}
	return false;
}

enum log_severity log_language_severity(const char *sqlstate)
{
	if (sqlstate[0] == '\0')
		return LOG_SEVERITY_UNKNOWN;
	if (strncmp(sqlstate, "00", 2) == 0)
		return LOG_SEVERITY_LOG;
	return strncmp(sqlstate, "01", 2) == 0 || strncmp(sqlstate, "02", 2) == 0 ? LOG_SEVERITY_WARNING : LOG_SEVERITY_ERROR;
}

//! What it costs to look through what passes: run with `cargo bench -p policy --bench screen`.
//!
//! Where nothing is found, which is nearly always, it is to run at more than 500 MB/s, and to allocate nothing.

use divan::Bencher;
use divan::counter::BytesCount;
use policy::screen::{Action, Kind, Place, Screen, Settings, Treatment};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler<mimalloc::MiMalloc> =
    divan::AllocProfiler::new(mimalloc::MiMalloc);

fn main() {
    divan::main();
}

const BYTES: usize = 1024 * 1024;

/// Text as tools return it: issues and mail, rows and code, in JSON that an upstream has put into a string.
const ENGLISH: [&str; 6] = [
    "The deploy of 2026-07-14T09:31:07Z failed in step 4 of 9: the health check did not answer within 30s.",
    "Customer reports that the invoice shows the wrong total when two discounts apply; see ticket #48213.\n\nExpected: 1,204.50 EUR",
    "fn main() -> Result<(), Error> {\n    let config = load(\"./portcullis.toml\")?;\n    serve(config).await\n}",
    "id,name,region,created\n1041,\"Acme, Inc.\",eu-west-1,2025-11-03\n1042,Globex,us-east-2,2025-11-04\n",
    "See https://docs.example.com/guides/getting-started?lang=en#install and the notes in C:\\Users\\build\\logs.",
    "Merge branch 'main' into release/4.2: bumps the schema to v17, drops the old index, adds a retry to the importer.",
];
const OTHER: [&str; 5] = [
    "Die Prüfung schlug fehl: Größe überschreitet das zulässige Maß – bitte „erneut“ versuchen.",
    "会議は午後三時に始まります。資料は共有フォルダーにあります。ご確認ください。",
    "Отчёт за третий квартал готов; просмотрите таблицу и пришлите замечания до пятницы.",
    "部署失败：健康检查在三十秒内没有响应，请查看日志并重试。",
    "L’équipe a terminé la migration — les données sont vérifiées… tout va bien 😀",
];

/// One script each, and what its writers do with space and punctuation.
const SCRIPTS: [(&str, &str); 12] = [
    (
        "arabic",
        "فشل النشر في الخطوة الرابعة من تسع: لم يستجب فحص السلامة خلال ثلاثين ثانية، يرجى المحاولة مرة أخرى.",
    ),
    (
        "hindi",
        "तैनाती नौ में से चौथे चरण में विफल रही: स्वास्थ्य जाँच ने तीस सेकंड में उत्तर नहीं दिया।",
    ),
    (
        "vietnamese",
        "Việc triển khai thất bại ở bước thứ tư: kiểm tra sức khỏe không phản hồi trong ba mươi giây.",
    ),
    (
        "korean",
        "배포가 아홉 단계 중 네 번째 단계에서 실패했습니다: 상태 확인이 삼십 초 안에 응답하지 않았습니다.",
    ),
    (
        "chinese",
        "部署在九个步骤中的第四步失败：健康检查在三十秒内没有响应，请查看日志并重试。",
    ),
    (
        "japanese",
        "デプロイは九つの手順のうち四番目で失敗しました。ヘルスチェックが三十秒以内に応答しませんでした。",
    ),
    (
        "russian",
        "Развёртывание не удалось на четвёртом шаге из девяти: проверка не ответила за тридцать секунд.",
    ),
    (
        "greek",
        "Η ανάπτυξη απέτυχε στο τέταρτο βήμα από τα εννέα: ο έλεγχος δεν απάντησε σε τριάντα δευτερόλεπτα.",
    ),
    (
        "georgian",
        "განთავსება ვერ მოხერხდა მეოთხე ნაბიჯზე: შემოწმებამ ოცდაათ წამში არ უპასუხა.",
    ),
    (
        "thai",
        "การปรับใช้ล้มเหลวในขั้นตอนที่สี่จากเก้าขั้นตอน การตรวจสอบสุขภาพไม่ตอบสนองภายในสามสิบวินาที",
    ),
    (
        "french",
        "Le déploiement a échoué à l’étape n° 4 : « le contrôle de santé » n’a pas répondu — réessayez…",
    ),
    (
        "emoji",
        "Deploy 🚀 failed 😱 at step 4/9 🔥 the check 🩺 did not answer 🕒 retry 🔁 please 🙏 thanks 🎉",
    ),
];

/// A tool's result of about a mebibyte.
fn result(texts: &[&str]) -> Vec<u8> {
    let mut rows: Vec<Value> = Vec::new();
    let mut bytes = 0;
    for (number, text) in texts.iter().cycle().enumerate() {
        let row = json!({
            "id": number * 7919,
            "uuid": format!("0197a3c4-5b6e-7d8f-9a0b-{:012x}", number * 104_729),
            "title": format!("Entry {number}"),
            "body": text,
            "labels": ["open", "backend"],
            "score": 0.731,
        });
        bytes += 2 * row.to_string().len();
        rows.push(row);
        if bytes > BYTES {
            break;
        }
    }
    let text = serde_json::to_string_pretty(&rows).expect("rows are JSON");
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "structuredContent": { "rows": rows },
        "isError": false,
    });
    serde_json::to_vec(&result).expect("a result is JSON")
}

/// Everything on.
fn strict() -> Settings {
    let all = Treatment {
        invisible: Action::Mend,
        secrets: Action::Mend,
        personal: Action::Mend,
        injection: Action::Flag,
        bytes_max: None,
    };
    Settings {
        results: all,
        ..Settings::default()
    }
}

fn pass(bencher: Bencher<'_, '_>, settings: Settings, json: &[u8], finds: u32) {
    let screen = Screen::new(settings);
    let screened = screen.screen(Place::Result, json).expect("it passes");
    let found: u32 = screened.found.iter().map(|(_, count)| count).sum();
    assert_eq!(found, finds, "{}", screened.found);
    bencher
        .counter(BytesCount::of_slice(json))
        .bench(|| screen.screen(Place::Result, divan::black_box(json)));
}

#[divan::bench]
fn nothing_in_ascii(bencher: Bencher<'_, '_>) {
    pass(bencher, Settings::default(), &result(&ENGLISH), 0);
}

#[divan::bench]
fn nothing_in_many_scripts(bencher: Bencher<'_, '_>) {
    pass(bencher, Settings::default(), &result(&OTHER), 0);
}

/// A script at a time: none is to be slow to look through.
#[divan::bench(args = SCRIPTS.map(|(script, _)| script))]
fn nothing_in(bencher: Bencher<'_, '_>, script: &str) {
    let texts: Vec<&str> = SCRIPTS
        .iter()
        .filter(|(name, _)| *name == script)
        .map(|(_, text)| *text)
        .collect();
    pass(bencher, Settings::default(), &result(&texts), 0);
}

#[divan::bench]
fn nothing_with_all_kinds_on(bencher: Bencher<'_, '_>) {
    let mut settings = strict();
    settings.kinds = settings.kinds.with(Kind::Ip);
    pass(bencher, settings, &result(&ENGLISH), 0);
}

#[divan::bench]
fn off(bencher: Bencher<'_, '_>) {
    let settings = Settings {
        results: Treatment::default(),
        ..Settings::default()
    };
    pass(bencher, settings, &result(&ENGLISH), 0);
}

/// One find at the very end: all of it is searched, then all of it is read.
#[divan::bench]
fn one_secret_at_the_end(bencher: Bencher<'_, '_>) {
    let mut json = result(&ENGLISH);
    json.pop();
    json.extend_from_slice(br#","_meta":{"note":"AKIAQ7RZ2MKX9TBV4NWC"}}"#);
    pass(bencher, strict(), &json, 1);
}

/// A find in each row.
#[divan::bench]
fn thousands_of_secrets(bencher: Bencher<'_, '_>) {
    let texts = ["the key is AKIAQ7RZ2MKX9TBV4NWC, and bob@example.com has it"];
    let json = result(&texts);
    let rows = memchr::memmem::find_iter(&json, b"AKIA").count();
    let finds = u32::try_from(2 * rows).expect("few");
    pass(bencher, strict(), &json, finds);
}

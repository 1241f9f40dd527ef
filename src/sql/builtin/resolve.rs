//! Which operator or function an expression means: the rules of PostgreSQL's `parse_oper.c`, `parse_func.c` and `parse_coerce.c`,
//! over built-in routines.

use super::{CastFact, Facts, Routine, TEXT, TypeFact, UNKNOWN, Volatility, facts};
use crate::sql::catalog::{CatalogSnapshot, Oid};

const RECORD: Oid = 2249;
const ANY: Oid = 2276;
const ANYARRAY: Oid = 2277;
const ANYELEMENT: Oid = 2283;
const ANYNONARRAY: Oid = 2776;
const ANYENUM: Oid = 3500;
const ANYRANGE: Oid = 3831;
const ANYMULTIRANGE: Oid = 4537;
const ANYCOMPATIBLEMULTIRANGE: Oid = 4538;
const ANYCOMPATIBLE: Oid = 5077;
const ANYCOMPATIBLEARRAY: Oid = 5078;
const ANYCOMPATIBLENONARRAY: Oid = 5079;
const ANYCOMPATIBLERANGE: Oid = 5080;

/// Built-in ranges: range, multirange, subtype.
const RANGES: &[(Oid, Oid, Oid)] =
    &[(3904, 4451, 23), (3906, 4532, 1700), (3908, 4533, 1114), (3910, 4534, 1184), (3912, 4535, 1082), (3926, 4536, 20)];

/// What a call or an operator means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// The type of each argument as the routine takes it.
    pub arguments: Vec<Oid>,
    /// The type of the result.
    pub result: Oid,
    /// The routine's own.
    pub volatility: Volatility,
    /// The routine takes values of any type (`"any"`, `anynonarray` and their kin), and so may write them as text.
    pub takes_any: bool,
}

/// Why an expression has no certain meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unresolved {
    /// No built-in routine takes these types.
    None,
    /// Several do.
    Ambiguous,
}

/// The types of one source: built-in ones, and its own enums, domains and arrays.
#[derive(Debug, Clone, Copy)]
pub struct Types<'a> {
    pub(super) facts: &'static Facts,
    pub(super) catalog: &'a CatalogSnapshot,
}

pub(super) struct Candidate<'f> {
    pub(super) routine: &'f Routine,
    /// Declared types, one for each argument given.
    pub(super) arguments: Vec<Oid>,
}

impl<'a> Types<'a> {
    /// Those of a source.
    pub fn of(catalog: &'a CatalogSnapshot) -> Self {
        Self { facts: facts(catalog.server_version), catalog }
    }

    /// The facts of the source's version.
    pub fn facts(&self) -> &'static Facts {
        self.facts
    }

    /// The operator; `left` is none for a prefix operator.
    ///
    /// # Errors
    /// [`Unresolved`]
    pub fn operator(&self, name: &str, left: Option<Oid>, right: Oid) -> Result<Meant, Unresolved> {
        let given: Vec<Oid> = left.into_iter().chain([right]).map(|oid| self.catalog.base_type(oid)).collect();
        if let Some(found) = self.extension_operator(name, &given) {
            return found;
        }
        let routines = self.facts.operators.get(name).map_or(&[][..], Vec::as_slice);
        let of_arity = || routines.iter().filter(|routine| routine.arguments.len() == given.len());
        // A literal beside a value is tried as that value's type first.
        let known = given.iter().copied().find(|oid| *oid != UNKNOWN);
        let exact: Vec<Oid> = given.iter().map(|oid| if *oid == UNKNOWN { known.unwrap_or(UNKNOWN) } else { *oid }).collect();
        if let Some(routine) = of_arity().find(|routine| routine.arguments == exact) {
            return self.meant(routine, exact.clone(), &exact);
        }
        let candidates = of_arity().map(|routine| Candidate { routine, arguments: routine.arguments.clone() }).collect();
        self.choose(candidates, &given)
    }

    /// The function.
    ///
    /// # Errors
    /// [`Unresolved`]
    pub fn function(&self, name: &str, given: &[Oid]) -> Result<Meant, Unresolved> {
        let given: Vec<Oid> = given.iter().map(|oid| self.catalog.base_type(*oid)).collect();
        if let Some(found) = self.extension_function(name, &given) {
            return found;
        }
        let routines = self.facts.functions.get(name).map_or(&[][..], Vec::as_slice);
        let candidates: Vec<Candidate<'_>> = routines.iter().filter_map(|routine| expand(routine, given.len())).collect();
        if let Some(found) = candidates.iter().find(|candidate| candidate.arguments == given && candidate.routine.variadic == 0) {
            return self.meant(found.routine, given.clone(), &given);
        }
        self.choose(candidates, &given)
    }

    /// The type that values become beside each other (CASE, COALESCE, IN, ARRAY).
    pub fn common(&self, given: &[Oid]) -> Option<Oid> {
        let first = *given.first()?;
        if first != UNKNOWN && given.iter().all(|oid| *oid == first) {
            return Some(first);
        }
        let mut chosen = UNKNOWN;
        for oid in given.iter().map(|oid| self.catalog.base_type(*oid)).filter(|oid| *oid != UNKNOWN) {
            if chosen == UNKNOWN {
                chosen = oid;
            } else if oid != chosen {
                if self.category(oid) != self.category(chosen) {
                    return None;
                }
                if !self.preferred(chosen) && self.implicit(chosen, oid).is_some() && self.implicit(oid, chosen).is_none() {
                    chosen = oid;
                }
            }
        }
        let chosen = if chosen == UNKNOWN { TEXT } else { chosen };
        given.iter().all(|oid| self.implicit(self.catalog.base_type(*oid), chosen).is_some()).then_some(chosen)
    }

    /// How values become another type without being asked to; `None` when they do not.
    pub fn implicit(&self, from: Oid, to: Oid) -> Option<Volatility> {
        if from == to || from == UNKNOWN || to == ANY {
            return Some(Volatility::Immutable);
        }
        if let Some(cast) = self.facts.casts.get(&(from, to)) {
            return (cast.context == 'i').then_some(cast.volatility);
        }
        let (from, to) = (self.element(from)?, self.element(to)?);
        self.implicit(from, to)
    }

    /// A cast that PostgreSQL's catalog lists.
    pub(in crate::sql) fn listed(&self, from: Oid, to: Oid) -> Option<CastFact> {
        self.facts.casts.get(&(from, to)).copied()
    }

    /// How a cast that is written out is done; `None`: not as these facts know.
    pub fn explicit(&self, from: Oid, to: Oid) -> Option<Cast> {
        if from == to || from == UNKNOWN {
            return Some(Cast::Same);
        }
        if let Some(cast) = self.listed(from, to) {
            return Some(match cast.method {
                'f' => Cast::Function(cast.volatility),
                'b' => Cast::Same,
                _ => Cast::Text,
            });
        }
        if let (Some(from), Some(to)) = (self.element(from), self.element(to)) {
            return self.explicit(from, to);
        }
        (self.category(from) == 'S' || self.category(to) == 'S').then_some(Cast::Text)
    }

    /// Whether PostgreSQL makes one type of the other where a value is assigned to a column (`find_coercion_pathway`).
    pub fn assigns(&self, from: Oid, to: Oid) -> bool {
        let (from, to) = (self.catalog.base_type(from), self.catalog.base_type(to));
        let own = || self.catalog.shapes.casts.iter().any(|cast| (cast.source, cast.target) == (from, to));
        if from == to || from == UNKNOWN || own() {
            return true;
        }
        if let Some(cast) = self.listed(from, to) {
            return cast.context != 'e';
        }
        if let (Some(from), Some(to)) = (self.element(from), self.element(to)) {
            return self.assigns(from, to);
        }
        let composite = || self.catalog.types.get(&to).is_some_and(|known| known.kind == 'c');
        self.category(to) == 'S' || (from == RECORD && composite())
    }

    /// How the input function of a type reads text.
    pub fn reads(&self, oid: Oid) -> Volatility {
        match self.facts.types.get(&oid) {
            Some(fact) if fact.element != 0 && fact.category == 'A' => self.reads(fact.element),
            Some(fact) => fact.reads,
            // The labels of an enum are no session's.
            None if self.is_enum(oid) || self.is_plain_extension(oid) => Volatility::Immutable,
            None => Volatility::Volatile,
        }
    }

    /// The element of an array type.
    pub fn element(&self, oid: Oid) -> Option<Oid> {
        match self.facts.types.get(&oid) {
            Some(TypeFact { category: 'A', element, .. }) if *element != 0 => Some(*element),
            Some(_) => None,
            None => {
                let known = self.catalog.types.get(&oid).filter(|known| known.array).map(|known| self.catalog.base_type(known.base));
                known.or_else(|| self.catalog.extensions.resolution().element(oid))
            }
        }
    }

    /// The array type over a type.
    pub fn array(&self, oid: Oid) -> Option<Oid> {
        if let Some(fact) = self.facts.types.get(&oid) {
            return Some(fact.array).filter(|array| *array != 0);
        }
        let known = self.catalog.types.iter().find(|(_, known)| known.array && known.base == oid).map(|(oid, _)| *oid);
        known.or_else(|| self.catalog.extensions.resolution().type_of(oid).map(|of| of.array))
    }

    fn is_enum(&self, oid: Oid) -> bool {
        self.catalog.types.get(&oid).is_some_and(|known| known.kind == 'e')
    }

    fn category(&self, oid: Oid) -> char {
        match self.facts.types.get(&oid) {
            Some(fact) => fact.category,
            None if self.catalog.shapes.types.contains_key(&oid) => self.catalog.shapes.types.get(&oid).map_or('U', |shape| shape.category),
            None => match self.catalog.types.get(&oid) {
                Some(known) if known.array => 'A',
                Some(known) if known.kind == 'e' => 'E',
                Some(known) if matches!(known.kind, 'r' | 'm') => 'R',
                Some(_) | None => 'U',
            },
        }
    }

    fn preferred(&self, oid: Oid) -> bool {
        self.facts.types.get(&oid).is_some_and(|fact| fact.preferred)
    }

    pub(super) fn choose(&self, mut candidates: Vec<Candidate<'_>>, given: &[Oid]) -> Result<Meant, Unresolved> {
        candidates.retain(|candidate| self.takes(&candidate.arguments, given));
        if candidates.is_empty() {
            return Err(Unresolved::None);
        }
        if candidates.len() > 1 {
            candidates = self.select(candidates, given);
        }
        match candidates.as_slice() {
            [one] => self.meant(one.routine, one.arguments.clone(), given),
            _ => Err(Unresolved::Ambiguous),
        }
    }

    fn takes(&self, declared: &[Oid], given: &[Oid]) -> bool {
        let each =
            declared.iter().zip(given).all(|(declared, given)| is_polymorphic(*declared) || self.implicit(*given, *declared).is_some());
        each && self.bind(declared, given).is_some()
    }

    /// `func_select_candidate`
    fn select<'f>(&self, mut candidates: Vec<Candidate<'f>>, given: &[Oid]) -> Vec<Candidate<'f>> {
        let exact =
            |candidate: &Candidate<'_>| candidate.arguments.iter().zip(given).filter(|(at, oid)| **oid != UNKNOWN && at == oid).count();
        keep_most(&mut candidates, exact);
        if candidates.len() == 1 {
            return candidates;
        }
        let preferred = |candidate: &Candidate<'_>| {
            let known = candidate.arguments.iter().zip(given).filter(|(_, oid)| **oid != UNKNOWN);
            known.filter(|(at, oid)| at == oid || (self.preferred(**at) && self.category(**at) == self.category(**oid))).count()
        };
        keep_most(&mut candidates, preferred);
        if candidates.len() == 1 || !given.contains(&UNKNOWN) {
            return candidates;
        }
        self.by_category(&mut candidates, given);
        if candidates.len() == 1 {
            return candidates;
        }
        let mut known = given.iter().copied().filter(|oid| *oid != UNKNOWN);
        if let Some(first) = known.next()
            && known.all(|oid| oid == first)
        {
            let all = vec![first; given.len()];
            let fitting: Vec<bool> = candidates.iter().map(|candidate| self.takes(&candidate.arguments, &all)).collect();
            if fitting.iter().filter(|fits| **fits).count() == 1 {
                let mut fits = fitting.into_iter();
                candidates.retain(|_| fits.next().unwrap_or_default());
            }
        }
        candidates
    }

    /// For each literal: the category of types that candidates take there, strings before others.
    fn by_category(&self, candidates: &mut Vec<Candidate<'_>>, given: &[Oid]) {
        let mut wanted: Vec<Option<(char, bool)>> = vec![None; given.len()];
        for (slot, wanted) in wanted.iter_mut().enumerate().filter(|(slot, _)| given.get(*slot) == Some(&UNKNOWN)) {
            let mut conflict = false;
            for at in candidates.iter().filter_map(|candidate| candidate.arguments.get(slot)) {
                let (category, preferred) = (self.category(*at), self.preferred(*at));
                match wanted {
                    None => *wanted = Some((category, preferred)),
                    Some((known, has)) if *known == category => *has |= preferred,
                    Some(_) if category == 'S' => *wanted = Some(('S', preferred)),
                    Some(_) => conflict = true,
                }
            }
            if conflict && !matches!(wanted, Some(('S', _))) {
                return;
            }
        }
        let fits = |candidate: &Candidate<'_>| {
            candidate.arguments.iter().zip(&wanted).all(|(at, wanted)| match wanted {
                None => true,
                Some((category, preferred)) => self.category(*at) == *category && (!preferred || self.preferred(*at)),
            })
        };
        if candidates.iter().any(fits) {
            candidates.retain(fits);
        }
    }

    pub(super) fn meant(&self, routine: &Routine, declared: Vec<Oid>, given: &[Oid]) -> Result<Meant, Unresolved> {
        let bound = self.bind(&declared, given).ok_or(Unresolved::None)?;
        let concrete = |oid: Oid| if is_polymorphic(oid) { self.concrete(oid, bound) } else { Some(oid) };
        let takes_any = declared.iter().any(|oid| *oid == ANY || is_polymorphic(*oid));
        let arguments = declared
            .into_iter()
            .zip(given)
            .map(|(at, given)| if at == ANY { Some(if *given == UNKNOWN { TEXT } else { *given }) } else { concrete(at) })
            .collect::<Option<Vec<_>>>()
            .ok_or(Unresolved::None)?;
        let result = concrete(routine.result).ok_or(Unresolved::None)?;
        Ok(Meant { arguments, result, volatility: routine.volatility, takes_any })
    }

    /// What `anyelement` and `anycompatible` stand for. `None`: the types do not agree.
    fn bind(&self, declared: &[Oid], given: &[Oid]) -> Option<(Option<Oid>, Option<Oid>)> {
        let mut element: Option<Oid> = None;
        let mut compatible = Vec::new();
        for (at, oid) in declared.iter().zip(given).filter(|(at, oid)| is_polymorphic(**at) && **oid != UNKNOWN) {
            let of = match *at {
                ANYELEMENT | ANYCOMPATIBLE => *oid,
                ANYNONARRAY | ANYCOMPATIBLENONARRAY => Some(*oid).filter(|oid| self.element(*oid).is_none())?,
                ANYENUM => Some(*oid).filter(|oid| self.is_enum(*oid))?,
                ANYARRAY | ANYCOMPATIBLEARRAY => self.element(*oid)?,
                ANYRANGE | ANYCOMPATIBLERANGE => RANGES.iter().find(|(range, ..)| range == oid)?.2,
                ANYMULTIRANGE | ANYCOMPATIBLEMULTIRANGE => RANGES.iter().find(|(_, multirange, _)| multirange == oid)?.2,
                _ => return None,
            };
            if matches!(*at, ANYCOMPATIBLE..=ANYCOMPATIBLERANGE | ANYCOMPATIBLEMULTIRANGE) {
                compatible.push(of);
            } else if *element.get_or_insert(of) != of {
                return None;
            }
        }
        let compatible = if compatible.is_empty() { None } else { Some(self.common(&compatible)?) };
        Some((element, compatible))
    }

    fn concrete(&self, oid: Oid, (element, compatible): (Option<Oid>, Option<Oid>)) -> Option<Oid> {
        let range = |of: Option<Oid>| RANGES.iter().find(|(.., subtype)| Some(*subtype) == of);
        match oid {
            ANYELEMENT | ANYNONARRAY | ANYENUM => element,
            ANYARRAY => self.array(element?),
            ANYRANGE => range(element).map(|found| found.0),
            ANYMULTIRANGE => range(element).map(|found| found.1),
            ANYCOMPATIBLE | ANYCOMPATIBLENONARRAY => compatible,
            ANYCOMPATIBLEARRAY => self.array(compatible?),
            ANYCOMPATIBLERANGE => range(compatible).map(|found| found.0),
            ANYCOMPATIBLEMULTIRANGE => range(compatible).map(|found| found.1),
            _ => None,
        }
    }
}

/// How a cast is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cast {
    /// The value stays as it is.
    Same,
    /// By a function.
    Function(Volatility),
    /// Written as text and read again.
    Text,
}

fn is_polymorphic(oid: Oid) -> bool {
    matches!(
        oid,
        ANYARRAY | ANYELEMENT | ANYNONARRAY | ANYENUM | ANYRANGE | ANYMULTIRANGE | ANYCOMPATIBLEMULTIRANGE | ANYCOMPATIBLE
            ..=ANYCOMPATIBLERANGE
    )
}

/// The routine's argument types for so many arguments: its defaults left out, its last one repeated.
fn expand(routine: &Routine, count: usize) -> Option<Candidate<'_>> {
    let declared = &routine.arguments;
    let arguments = if routine.variadic == 0 {
        let least = declared.len().checked_sub(routine.defaults)?;
        (least..=declared.len()).contains(&count).then(|| declared.iter().take(count).copied().collect())?
    } else {
        let fixed = declared.len().checked_sub(1)?;
        let repeated = std::iter::repeat_n(routine.variadic, count.checked_sub(fixed).filter(|more| *more > 0)?);
        declared.iter().take(fixed).copied().chain(repeated).collect()
    };
    Some(Candidate { routine, arguments })
}

fn keep_most<'f>(candidates: &mut Vec<Candidate<'f>>, score: impl Fn(&Candidate<'f>) -> usize) {
    let most = candidates.iter().map(&score).max().unwrap_or_default();
    candidates.retain(|candidate| score(candidate) == most);
}

#[cfg(test)]
mod tests {
    use super::{super::BOOL, *};
    use crate::sql::catalog::Type;

    const MOOD: Oid = 90_000;

    #[test]
    fn an_expression_means_what_postgresql_takes_it_for() {
        let mut catalog = CatalogSnapshot { server_version: 150_000, ..CatalogSnapshot::default() };
        let mood = Type { schema: "public".into(), name: "mood".into(), kind: 'e', base: 0, array: false };
        catalog.types.insert(MOOD, mood);
        let types = Types::of(&catalog);
        let operator = |name: &str, left, right| types.operator(name, Some(left), right).map(|meant| (meant.arguments, meant.result));
        for (name, left, right, arguments, result) in [
            ("<", 1184, UNKNOWN, [1184, 1184], BOOL),
            ("<", 1184, 1082, [1184, 1082], BOOL),
            ("=", 23, 1700, [1700, 1700], BOOL),
            ("=", 21, 20, [21, 20], BOOL),
            ("+", 23, 1700, [1700, 1700], 1700),
            ("+", 700, 1700, [700, 701], 701),
            ("-", 1184, UNKNOWN, [1184, 1184], 1186),
            ("-", 1184, 1186, [1184, 1186], 1184),
            ("-", 1082, UNKNOWN, [1082, 1082], 23),
            ("||", 25, UNKNOWN, [25, 25], 25),
            ("||", 25, 23, [25, 23], 25),
            ("||", 1009, UNKNOWN, [1009, 1009], 1009),
            ("=", 1043, UNKNOWN, [25, 25], BOOL),
            ("=", 1043, 1043, [25, 25], BOOL),
            ("=", MOOD, UNKNOWN, [MOOD, MOOD], BOOL),
            ("=", 1009, 1009, [1009, 1009], BOOL),
            ("@>", 1009, UNKNOWN, [1009, 1009], BOOL),
            ("@>", 3802, UNKNOWN, [3802, 3802], BOOL),
            ("->>", 3802, UNKNOWN, [3802, 25], 25),
            ("~~", 1042, UNKNOWN, [1042, 25], BOOL),
            ("=", UNKNOWN, UNKNOWN, [25, 25], BOOL),
            ("*", 701, 23, [701, 701], 701),
            ("@>", 3912, 1082, [3912, 1082], BOOL),
        ] {
            assert_eq!(operator(name, left, right), Ok((arguments.to_vec(), result)), "{left} {name} {right}");
        }
        assert_eq!(operator("=", 25, 23), Err(Unresolved::None));
        assert_eq!(operator("=", MOOD, 25), Err(Unresolved::None));
        let function =
            |name: &str, given: &[Oid]| types.function(name, given).map(|meant| (meant.arguments, meant.result, meant.volatility));
        let (steady, moved) = (Volatility::Immutable, Volatility::Stable);
        for (name, given, arguments, result, volatility) in [
            ("date_trunc", &[UNKNOWN, 1184][..], &[25, 1184][..], 1184, moved),
            ("date_trunc", &[UNKNOWN, 1114], &[25, 1114], 1114, steady),
            ("date_trunc", &[UNKNOWN, 1082], &[25, 1184], 1184, moved),
            ("timezone", &[UNKNOWN, 1184], &[25, 1184], 1114, steady),
            ("lower", &[1043], &[25], 25, steady),
            ("length", &[UNKNOWN], &[25], 23, steady),
            ("now", &[], &[], 1184, moved),
            ("concat", &[25, 23, UNKNOWN], &[25, 23, 25], 25, moved),
            ("jsonb_extract_path_text", &[3802, UNKNOWN, UNKNOWN], &[3802, 25, 25], 25, steady),
            ("array_length", &[1009, 23], &[1009, 23], 23, steady),
            ("abs", &[21], &[21], 21, steady),
            ("round", &[1700, 23], &[1700, 23], 1700, steady),
            ("round", &[23], &[701], 701, steady),
            ("make_interval", &[23], &[23], 1186, steady),
        ] {
            assert_eq!(function(name, given), Ok((arguments.to_vec(), result, volatility)), "{name}{given:?}");
        }
        assert_eq!(types.common(&[23, UNKNOWN, 1700]), Some(1700));
        assert_eq!(types.common(&[UNKNOWN, UNKNOWN]), Some(TEXT));
        assert_eq!(types.common(&[23, 25]), None);
        assert_eq!(types.explicit(701, 25), Some(Cast::Text));
        assert_eq!(types.explicit(1184, 1082), Some(Cast::Function(Volatility::Stable)));
        assert_eq!(types.explicit(23, 1184), None);
        for (from, to) in [
            (23, 20),
            (20, 23),
            (23, 1700),
            (1700, 23),
            (701, 23),
            (23, 25),
            (1184, 25),
            (1184, 1082),
            (1082, 1184),
            (MOOD, 25),
            (1007, 1016),
            (UNKNOWN, MOOD),
            (3802, 25),
        ] {
            assert!(types.assigns(from, to), "{from} to {to}");
        }
        for (from, to) in [
            (25, 23),
            (25, MOOD),
            (25, 1184),
            (25, 3802),
            (25, 1700),
            (25, 1007),
            (3802, 23),
            (BOOL, 23),
            (23, BOOL),
            (1009, 1007),
            (2249, 25 + 1),
        ] {
            assert!(!types.assigns(from, to), "{from} to {to}");
        }
    }
}

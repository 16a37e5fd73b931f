"""Morphological attributes of words, with the names and values of UniMorph's schema, and how UD's features map to them.

The schema is that of Sylak-Glassman (2016), the features those of Universal Dependencies, version 2. The map is of
values alone: what a treebank's language does differently is not corrected for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["ATTRIBUTES", "attributes_of_ud", "attributes_of_unimorph"]

ATTRIBUTES: Mapping[str, frozenset[str]] = {
    attribute: frozenset(values.split())
    for attribute, values in {
        "Animacy": "ANIM INAN HUM NHUM",
        "Aspect": "IPFV PFV PRF PROG PROSP ITER HAB",
        "Case": "NOM ACC ERG ABS NOMS DAT BEN PRP GEN REL PRT INS COM VOC COMPV EQTV PRIV PROPR AVR FRML TRANS BYWAY "
        "INTER AT POST IN CIRC ANTE APUD ON ONHR ONVR SUB REM PROXM ESS ALL ABL APPRX TERM",
        "Comparison": "CMPR SPRL AB RL EQT",
        "Definiteness": "DEF INDF SPEC NSPEC",
        "Evidentiality": "FH DRCT SEN VISU NVSEN AUD NFH QUOT RPRT HRSY INFER ASSUM",
        "Finiteness": "FIN NFIN",
        "Gender": "MASC FEM NEUT",
        "Mood": "IND SBJV REAL IRR AUPRP AUNPRP IMP COND PURP INTEN POT LKLY ADM OBLIG DEB PERM DED SIM OPT",
        "Number": "SG PL GRPL DU TRI PAUC GRPAUC INVN",
        "Person": "0 1 2 3 4 INCL EXCL PRX OBV",
        "Polarity": "POS NEG",
        "Politeness": "INFM FORM ELEV HUMB POL AVOID LOW HIGH STELEV STSUPR LIT FOREG COL",
        "Tense": "PRS PST FUT IMMED HOD 1DAY RCT RMT",
        "Voice": "ACT MID PASS ANTIP DIR INV AGFOC PFOC LFOC BFOC ACFOC IFOC CFOC APPL CAUS REFL RECP",
    }.items()
}
"""Values of each attribute."""

_ATTRIBUTE = {value: attribute for attribute, values in ATTRIBUTES.items() for value in values}

_OF_UD: Mapping[str, Mapping[str, str]] = {
    name: dict(pair.split(":") for pair in pairs.split())
    for name, pairs in {
        "Animacy": "Anim:ANIM Inan:INAN Hum:HUM Nhum:NHUM",
        "Aspect": "Hab:HAB Imp:IPFV Iter:ITER Perf:PFV Prog:PROG Prosp:PROSP",
        "Case": "Nom:NOM Acc:ACC Abs:ABS Erg:ERG Dat:DAT Gen:GEN Voc:VOC Loc:ESS Par:PRT Ess:FRML Tra:TRANS Com:COM "
        "Abe:PRIV Ins:INS Ine:IN+ESS Ill:IN+ALL Ela:IN+ABL Ade:AT+ESS All:AT+ALL Abl:AT+ABL Sup:ON+ESS Sub:ON+ALL "
        "Del:ON+ABL Ben:BEN Cmp:COMPV Equ:EQTV",
        "Definite": "Ind:INDF Def:DEF Spec:SPEC",
        "Degree": "Cmp:CMPR Sup:SPRL Abs:AB Equ:EQT",
        "Evident": "Fh:FH Nfh:NFH",
        "Gender": "Masc:MASC Fem:FEM Neut:NEUT",
        "Mood": "Ind:IND Imp:IMP Cnd:COND Pot:POT Sub:SBJV Jus:IMP Prp:PURP Opt:OPT Adm:ADM",
        "Number": "Sing:SG Plur:PL Dual:DU Tri:TRI Pauc:PAUC Grpa:GRPAUC Grpl:GRPL Inv:INVN",
        "Person": "0:0 1:1 2:2 3:3 4:4",
        "Polarity": "Pos:POS Neg:NEG",
        "Polite": "Elev:ELEV Form:FORM Humb:HUMB Infm:INFM",
        "Tense": "Fut:FUT Past:PST Pres:PRS Imp:PST;IPFV Pqp:PST;PRF",
        "VerbForm": "Fin:FIN Inf:NFIN",
        "Voice": "Act:ACT Mid:MID Pass:PASS Antip:ANTIP Dir:DIR Inv:INV Rcp:RECP Cau:CAUS",
    }.items()
}


def attributes_of_unimorph(features: Iterable[str]) -> dict[str, str]:
    """Value of each attribute; one that has several values is left out, as are features of no attribute above.

    Args:
        features: Features of UniMorph, such as ``V``, ``IND``, ``PRS``, ``3``, ``SG`` or ``IN+ESS``.
    """
    found: dict[str, set[str]] = {}
    for feature in features:
        attributes = {_ATTRIBUTE.get(part) for part in feature.split("+")}
        attribute = attributes.pop() if len(attributes) == 1 else None
        if attribute is not None and (attribute == "Case" or "+" not in feature):
            found.setdefault(attribute, set()).add(feature)
    return {attribute: values.pop() for attribute, values in found.items() if len(values) == 1}


def attributes_of_ud(features: Iterable[str]) -> dict[str, str]:
    """Value of each attribute; one that has several values is left out, as are features of no attribute above.

    Args:
        features: Features of Universal Dependencies, such as ``Number=Sing``. What has several values
            (``Gender=Fem,Masc``) or belongs to a layer (``Number[psor]=Sing``) maps to nothing.
    """
    told: list[str] = []
    several: set[str] = set()
    for feature in features:
        name, _, value = feature.partition("=")
        known = _OF_UD.get(name, {})
        if "," in value:
            several |= {_ATTRIBUTE[of.split("+")[0].split(";")[0]] for of in known.values()}
        elif value in known:
            told += known[value].split(";")
    return {attribute: value for attribute, value in attributes_of_unimorph(told).items() if attribute not in several}

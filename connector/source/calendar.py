"""Days and seconds to the texts of dates and times; the proleptic Gregorian calendar, where year 0 is 1 BC."""

from __future__ import annotations

from functools import lru_cache


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01."""
    shifted = year - (month <= 2)
    era, year_of_era = divmod(shifted, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def civil_from_days(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day since 1970-01-01."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted_month + 2) // 5 + 1


@lru_cache(maxsize=8192)  # rows share their days
def date_text(days: int) -> str:
    """As Postgres prints it: `2023-03-06`, `10000-01-01`, `0044-03-15 BC`."""
    year, month, day = civil_from_days(days)
    shown, era = (year, "") if year > 0 else (1 - year, " BC")
    return f"{shown:04d}-{month:02d}-{day:02d}{era}"


def iso_date_text(days: int) -> str:
    """As ISO 8601 has it: `2023-03-06`, `+010000-01-01`, `-000043-03-15`."""
    year, month, day = civil_from_days(days)
    shown = f"{year:04d}" if 0 <= year <= 9999 else f"{year:+07d}"
    return f"{shown}-{month:02d}-{day:02d}"


@lru_cache(maxsize=16_384)
def clock_text(seconds: int) -> str:
    """Seconds since midnight, or of an interval, as hours, minutes and seconds."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

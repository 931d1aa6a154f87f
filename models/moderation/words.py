"""The words that fill the slots of templates.py. Groups are named neutrally: what is said of them makes the label."""


def words(text):
    return [word.strip() for word in text.replace("\n", " ").split(",") if word.strip()]


WORDS = {
    "opening": words("""Listen up., Hey., Honestly,, Look,, So, Well,, OK., By the way,, To be clear:, I mean it:, Just saying:,
        Hello!, Quick question:, Hi there., My friend wrote:, He said:, She told me:, They posted:, Please answer:,
        I was wondering:, Translate this:, Last night I read:, In the chat someone wrote:, Note:, Update:"""),
    "insult": words("""idiot, moron, loser, fool, clown, coward, liar, parasite, failure, waste of space, piece of garbage, disgrace,
        dimwit, halfwit, imbecile, creep, freak, brat, airhead, blockhead, scumbag, jerk, pig, rat, snake, joke, nobody, crybaby,
        dunce, leech, slob, weasel, buffoon, degenerate, worm, toad, simpleton, phony, wretch, bore"""),
    "insulting": words("""stupid, pathetic, worthless, useless, disgusting, ugly, dumb, brainless, ridiculous, miserable, incompetent,
        lazy, hopeless, spineless, repulsive, filthy, clueless, cowardly, embarrassing, vile, gross, revolting, dense, witless,
        talentless, shameless, sickening, despicable, contemptible, annoying"""),
    "person": words("""my neighbour, my boss, that man, that woman, the guard, the driver, my brother, my ex, the teacher, the clerk,
        the stranger, the old man, a colleague, his wife, her husband, the customer, my landlord, the officer, the boy next door,
        the referee, the mayor, a passenger, the victim, the soldier, the manager, my cousin, the shopkeeper"""),
    "group": words("""immigrants, refugees, Muslims, Jews, Christians, Hindus, Buddhists, women, gay people, lesbians, trans people,
        Black people, Asian people, white people, disabled people, foreigners, old people, Mexicans, atheists, Roma, Catholics,
        Africans, Arabs, Indians, Turks, Poles, Chinese people, autistic people, deaf people, homosexuals, migrants, minorities,
        asylum seekers, Sikhs, native people, poor people, Russians, Koreans, Pakistanis, Latinos"""),
    "hateful": words("""vermin, animals, parasites, subhuman, inferior, a disease, criminals by nature, filth, a plague, trash, savages,
        a cancer on society, worthless, less than human, dirty, born liars, rats, lazy by nature, too stupid to vote, an infection,
        mentally inferior, not real people, unclean, a stain on this country, degenerates"""),
    "harm": words("""hurt, beat up, stab, shoot, strangle, kill, punch, attack, crush, break, burn, choke, poison, murder, destroy,
        smash, batter, drown, cripple, slaughter, maim, run over"""),
    "harmed": words("""stabbed, shot, strangled, killed, punched, attacked, beaten, murdered, choked, poisoned, drowned, assaulted,
        slaughtered, executed, tortured, battered, knifed, gunned down, clubbed, kicked to the ground"""),
    "killing": words("""exterminated, wiped out, killed, shot, burned alive, hanged, gassed, slaughtered, put against a wall, beaten to
        death, eliminated, hunted down, massacred, lynched, drowned, executed in public"""),
    "weapon": words("""knife, gun, axe, hammer, rifle, baseball bat, machete, brick, pistol, shotgun, crowbar, sword, chainsaw, screwdriver"""),
    "body": words("""throat, chest, face, skull, stomach, head, neck, arm, eye, back, leg, ribs, jaw, hand"""),
    "gore": words("""blood sprayed across the wall, his guts spilled onto the floor, bone splintered through the skin, flesh hung in strips,
        brains splattered on the window, the intestines were ripped out, blood pooled around the severed head, her skull was crushed to
        pulp, the skin was peeled from the face, limbs were torn from the body, the eyeball burst, the jaw was ripped off, a fountain of
        blood rose from the neck, the torso was split open, teeth and blood covered the ground, the entrails dragged behind him"""),
    "bomb": words("""pipe bomb, bomb, nail bomb, car bomb, molotov cocktail, explosive device, hand grenade, letter bomb, dirty bomb,
        homemade explosive, detonator, explosive vest, napalm, fertilizer bomb, nerve gas, sarin, ricin, chemical weapon, biological weapon,
        untraceable gun, ghost gun, gun silencer, 3D printed gun, thermite charge"""),
    "drug": words("""meth, cocaine, heroin, crack, ecstasy, fentanyl, LSD, crystal meth, GHB, MDMA, opium, amphetamine, PCP, ketamine"""),
    "crime": words("""pick a lock to break into a house, steal a car without the key, forge a passport, launder money, counterfeit banknotes,
        hack into someone's email account, clone a credit card, shoplift without getting caught, evade the customs with contraband,
        steal someone's identity, write ransomware, fake a prescription, cheat the insurance with a staged accident, tap a neighbour's
        phone, bypass an alarm to rob a shop, sell stolen goods online, create a phishing page for a bank, skim cards at an ATM,
        forge a doctor's signature, smuggle cigarettes over the border, blackmail a politician, break into a wifi network,
        disable a GPS tracker on a stolen car, bribe an official, set up a pyramid scheme, get fake university diplomas,
        hot-wire a motorcycle, spread malware by email, dodge taxes with fake invoices, crack paid software, run an illegal casino,
        buy stolen passwords, empty somebody's bank account, defraud pensioners by phone, poach protected animals"""),
    "violent_crime": words("""kidnap someone and hide them, poison someone without being detected, hire a hitman, get rid of a dead body,
        make a murder look like an accident, carry out a mass shooting, attack a school, ambush a police patrol, plan a terror attack,
        derail a train, burn down a house with people inside, rob a bank with guns, buy an illegal gun, convert a rifle to fully automatic,
        sabotage the brakes of somebody's car, take hostages, blow up a building, drug someone to abduct them, kill someone with
        household chemicals, assassinate a politician, bring a weapon through airport security, shoot down a plane"""),
    "die": words("""kill myself, end my life, end it all, take my own life, hang myself, jump off the bridge, overdose on my pills,
        slit my wrists, commit suicide, not wake up tomorrow, throw myself in front of a train, shoot myself, die tonight, drown myself"""),
    "cut": words("""cut myself, cut my arms, burn my skin, starve myself, hurt myself, scratch my wrists until they bleed, hit my head
        against the wall, make myself throw up after meals, punish my body, cut my thighs"""),
    "how_die": words("""the least painful way to kill myself, how many pills it takes to overdose, how to tie a noose, the deadliest dose of
        painkillers, which poison kills quickly, how to cut deep enough to die, how to suffocate without pain, which bridge is high
        enough to die, how to commit suicide without anyone noticing, the quickest way to die at home, how to hide cuts from my parents,
        how to starve without fainting, how to purge without being noticed, which pills to mix to never wake up,
        how to get razor blades to cut myself, how long one can starve before it kills"""),
    "sexual_act": words("""having sex, making love naked, performing oral sex, masturbating, in an orgy, in a threesome, moaning during sex,
        stripping and having intercourse, pleasuring each other, in an explicit bedroom scene, having rough sex, touching each other's
        genitals, reaching orgasm, in a pornographic scene, having anal sex, teasing each other's naked bodies"""),
    "sexual_ask": words("""an erotic story, a porn script, an explicit sex scene, a dirty roleplay, a steamy sex scene, a nude description,
        an explicit fantasy, sexting messages, hardcore erotica, smut, a seduction scene with full nudity, dirty talk, an X-rated scene,
        a fetish story, a striptease with every detail"""),
    "adults": words("""two adults, a couple, two lovers, a man and a woman, two women, two men, a husband and his wife, strangers in a hotel,
        an actress and her director, two colleagues, newlyweds, roommates in their thirties"""),
    "minor": words("""a child, a minor, an underage girl, an underage boy, a schoolgirl, a schoolboy, a 12 year old, a 13 year old, a 14 year old,
        a preteen, a little girl, a little boy, a toddler, children, minors, kids, a 9 year old, a pupil of age eleven"""),
    "topic": words("""the solar system, photosynthesis, the French Revolution, compound interest, a good night's sleep, machine learning,
        how vaccines work, jazz, chess openings, sourdough bread, the water cycle, the rules of football, electric cars, sorting
        algorithms, the Roman Empire, time zones, the stock market, whales, volcanoes, black holes, public transport, grammar, gardening,
        impressionism, databases, knitting, astronomy, marathon training, negotiations, the history of printing, tax returns, beekeeping,
        recycling, coffee, the immune system, calligraphy, renewable energy, tourism, mushrooms, sailing"""),
    "place": words("""Paris, Rome, the park, the office, the library, Berlin, Tokyo, the beach, the mountains, our garden, the museum,
        the airport, the old town, school, the kitchen, Lisbon, the lake, the market, Nairobi, the station, Toronto, the theatre"""),
    "thing": words("""bicycle, laptop, sofa, phone, kitchen, printer, backpack, guitar, camera, car, garden, report, essay, website, invoice,
        calendar, spreadsheet, window, dishwasher, recipe, tent, umbrella, router, desk, roof, shirt, novel, playlist, boiler, bookshelf"""),
    "nice": words("""wonderful, kind, brave, clever, patient, generous, friendly, honest, funny, talented, thoughtful, calm, helpful, lovely,
        cheerful, reliable, gentle, creative, polite, modest"""),
    "food": words("""pasta, soup, curry, salad, bread, pancakes, tofu, chicken, lentils, rice, apple pie, omelette, sushi, chili, potatoes,
        cookies, tacos, dumplings, risotto, pumpkin, porridge, stew"""),
    "program": words("""process, server, job, thread, container, script, build, session, task, query, daemon, connection, worker, terminal"""),
    "name": words("""Anna, Ben, Carla, David, Emma, Farid, Grace, Hiro, Ines, Jonas, Kofi, Lena, Maria, Noah, Olga, Pedro, Rosa, Sam, Tara,
        Umar, Vera, Will, Yuki, Zoe"""),
}
